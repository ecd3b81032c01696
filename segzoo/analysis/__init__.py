"""What a model is, without a clock: counts, receptive fields, cost by module."""
