"""Molecular dynamics: start frames, criteria, records, engines."""
