"""Trained models on the Hugging Face hub."""
