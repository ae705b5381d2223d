"""Experiments over settings and seeds, as tables."""
