"""What a model costs: counts, receptive fields, times."""
