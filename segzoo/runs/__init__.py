"""A run on disk: its directory, records, checkpoints, figures and report."""
