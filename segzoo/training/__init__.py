"""Training: the loop, checkpoints, schedules, the run directory and its report.

The package imports nothing by itself: the run directory is locked before torch is loaded.
"""
