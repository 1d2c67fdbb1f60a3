"""The judges of finished dialogues: who gives an audit its score where the deterministic checks do not."""
