"""Compiled models: making them, and what they say of themselves."""
