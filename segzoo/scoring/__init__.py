"""Scoring a model over a split, as training, evaluation and export do."""
