"""One optimizer step: forward, back, optimizer, moving average, as it is or as a CUDA graph."""
