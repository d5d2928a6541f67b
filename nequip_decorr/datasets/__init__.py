"""Built-in benchmark data."""
