"""Counts of several sites together: each sends numbers, none sends a record."""
