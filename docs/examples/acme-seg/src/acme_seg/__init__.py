"""Segmentation models for segzoo."""
