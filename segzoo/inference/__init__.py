"""Trained models at work: loading, predicting, evaluating."""
