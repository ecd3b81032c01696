"""Models in formats that run without segzoo."""
