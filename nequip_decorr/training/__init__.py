"""The loss term, its schedule, and what puts them into a training."""
