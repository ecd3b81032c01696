"""Batches: order, workers, shared memory."""
