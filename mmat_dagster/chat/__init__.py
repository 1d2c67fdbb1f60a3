"""Chat models as a client sees them: what they cost and take, and the images that they are sent."""
