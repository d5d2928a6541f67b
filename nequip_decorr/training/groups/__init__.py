"""Hydra config groups; ``decorr`` is the one-flag way to the loss term."""
