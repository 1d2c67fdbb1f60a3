"""The serving process: everything that imports torch."""
