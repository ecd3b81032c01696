"""What a measurement counts as memory is the model's own, and counting pixels takes little of it."""

from __future__ import annotations

import torch

from segzoo.bench.child import measure_model
from segzoo.bench.clock import clock_for
from segzoo.bench.memory import release
from segzoo.bench.peaks import measure_peaks
from segzoo.bench.rows import Request, Settings
from segzoo.metrics import confusion_matrices

DEVICE = torch.device("cuda", 0)


def test_a_graph_takes_what_eager_takes() -> None:
    """The check of the logits takes none on the device, so a graph's memory is not more than that of plain passes."""
    settings = Settings(
        size=(256, 256), batches=(), modes=("eager", "graph"), quick=True, min_samples=2, min_seconds=0, max_seconds=0.1
    )
    eager, graph = measure_model(Request(model="fast_scnn", repeat=0, settings=settings, device="cuda"))
    assert eager.memory_allocated is not None
    assert graph.memory_allocated is not None
    assert graph.memory_allocated <= 1.02 * eager.memory_allocated


def test_peaks_leave_nothing_behind() -> None:
    """The workspace of matrix products is given back with all else."""
    release(DEVICE)
    before = torch.cuda.memory_allocated(DEVICE)
    measure_peaks(DEVICE, clock_for(DEVICE), side=64, copied=1 << 12)
    release(DEVICE)
    assert torch.cuda.memory_allocated(DEVICE) == before


def test_counting_takes_little_memory() -> None:
    """Memory grows with the pixels, not with pixels times classes, where deterministic algorithms are asked for too."""
    labels = torch.zeros(8, 128, 128, dtype=torch.int64, device=DEVICE)
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        release(DEVICE)
        torch.cuda.reset_peak_memory_stats(DEVICE)
        before = torch.cuda.memory_allocated(DEVICE)
        confusion_matrices(labels, labels, num_classes=150, ignore_index=255)
        peak = torch.cuda.max_memory_allocated(DEVICE) - before
        assert peak < 40 * labels.nbytes
