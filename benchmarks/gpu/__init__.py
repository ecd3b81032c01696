"""The machinery of ``benchmarks/gpu_plan.py``. Nothing here imports torch."""
