"""The benchmark: what each model costs, counted and measured.

The package imports nothing by itself: the process that starts the measurements never loads torch.
"""
