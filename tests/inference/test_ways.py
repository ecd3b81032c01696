"""Ways to run a network have names, and each kind of device has some that are worth trying."""

from __future__ import annotations

import pytest

from segzoo.inference.ways import PLAIN, Trial, Way, ways_to_try


@pytest.mark.parametrize(
    ("way", "name"),
    [
        (PLAIN, "eager"),
        (Way(channels_last=True, folded=True), "fp32, channels_last, folded"),
        (Way(precision="fp16", compiled=True, replayed=True), "fp16, compiled, CUDA graph"),
    ],
)
def test_names_list_what_is_changed(way: Way, name: str) -> None:
    """The number format comes first, and nothing changed is ``eager``."""
    assert way.name == name


def test_a_gpu_tries_all_formats_and_a_processor_float32() -> None:
    """Nothing is compiled yet; on a GPU all is replayed."""
    assert [way.precision for way in ways_to_try("cuda")] == ["fp32", "bf16", "fp16"]
    assert all(way.replayed and way.folded and not way.compiled for way in ways_to_try("cuda"))
    assert ways_to_try("cpu") == (Way(channels_last=True, folded=True),)


def test_a_trial_is_one_line() -> None:
    """Figures are in it where there are any, and why a way is refused."""
    assert Trial(way=PLAIN, refused="no kernel").line == "eager: no kernel"
    figures = "eager: 1.50 ms, 0.100 % of the labels changed, probabilities up to 0.0123 off"
    assert Trial(way=PLAIN, latency_ms=1.5, changed=0.001, distance=0.01234).line == figures
    refused = Trial(way=PLAIN, latency_ms=1.5, changed=0.001, distance=0.01234, refused="too many")
    assert refused.line == f"{figures}; refused: too many"
    assert Trial(way=PLAIN, latency_ms=1.5, refused="not finite").line == "eager: not finite"
