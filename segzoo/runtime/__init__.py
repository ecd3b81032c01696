"""Processes and devices: what every process that runs a model needs, and no model."""
