"""Windows cover an image, blend into one another, and give what the network says of the whole image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from segzoo.nn import sliding
from segzoo.nn.sliding import blending, score_in_windows, slide, spans


def network(stride: int = 1) -> nn.Module:
    """Return a network that sees few pixels around each one."""
    torch.manual_seed(0)
    parts: list[nn.Module] = [nn.Conv2d(3, 4, 3, stride, padding=1), nn.Tanh(), nn.Conv2d(4, 5, 3, padding=1)]
    if stride > 1:
        parts.append(nn.Upsample(scale_factor=stride))
    return nn.Sequential(*parts).eval()


@pytest.mark.parametrize("length", [1, 95, 96, 97, 127, 128, 129, 500, 1001])
@pytest.mark.parametrize(("window", "overlap"), [(96, 0.0), (96, 0.25), (64, 0.9), (7, 0.5)])
def test_windows_cover_the_axis(length: int, window: int, overlap: float) -> None:
    """They begin at 0 and end at the end, leave no gap, overlap as asked for, and all but the last are equally long."""
    found = spans(length, window, overlap)
    assert found[0].start == 0
    assert found[-1].stop == length
    for one, other in pairwise(found):
        assert one.start < other.start
        assert one.stop - one.start == window
        assert one.stop - other.start >= int(window * overlap) or other.start - one.start == 32
    assert found[-1].stop - found[-1].start < max(window, length if len(found) == 1 else 0) + 32
    if window >= 64:
        assert all(span.start % 32 == 0 for span in found)


@pytest.mark.parametrize(("window", "overlap", "message"), [(0, 0.5, "got 0"), (4, 1.0, r"got 1\.0"), (4, -0.1, "got")])
def test_bad_windows_are_refused(window: int, overlap: float, message: str) -> None:
    """An empty window covers nothing, and one that overlaps the next in full never moves."""
    with pytest.raises(ValueError, match=message):
        spans(10, window, overlap)


@pytest.mark.parametrize(
    ("length", "window", "overlap"), [(300, 96, 0.25), (50, 9, 0.5), (200, 64, 0.0), (30, 64, 0.25)]
)
def test_weights_add_up(length: int, window: int, overlap: float) -> None:
    """At each pixel the weights of all windows make 1, and beside a neighbour a window's edge counts for nothing."""
    windows = spans(length, window, overlap)
    weights = blending(windows)
    total = torch.zeros(length)
    for (start, stop), weight in zip(windows, weights, strict=True):
        assert (weight >= 0).all()
        total[start:stop] += weight
    assert torch.allclose(total, torch.ones(length), atol=1e-6)
    if len(windows) > 1 and overlap:
        assert weights[1][0] == 0
        assert weights[0][-1] == 0
        assert weights[0][0] > 0


@pytest.mark.parametrize("size", [(200, 330), (129, 64), (97, 500), (64, 64)])
@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_windows_say_what_the_whole_image_does(size: tuple[int, int], stride: int, batch_size: int) -> None:
    """A network that sees less than a quarter of the overlap gives the logits of the whole image everywhere."""
    model = network(stride)
    images = torch.randn(2, 3, *size[:1], size[1])[..., : size[0] // stride * stride, : size[1] // stride * stride]
    with torch.inference_mode():
        expected = model(images)
        found = score_in_windows(model, images, window=(64, 96), overlap=0.5, batch_size=batch_size)
    assert torch.allclose(found, expected, atol=1e-5)


def test_one_window_changes_nothing() -> None:
    """An image that fits into a window has the network's logits, bit for bit."""
    model = network()
    image = torch.randn(1, 3, 40, 50)
    with torch.inference_mode():
        found = score_in_windows(model, image, window=(40, 64), overlap=0.25, batch_size=2)
        blocks = list(
            slide(model, lambda a, b: image[0, :, a:b], size=(40, 50), window=(40, 64), overlap=0.25, batch_size=2)
        )
        assert torch.equal(found, model(image))
    (block,) = blocks
    assert torch.equal(block.logits, found[0])


def test_only_some_rows_are_asked_for() -> None:
    """Blocks come top down and from left to right, cover each pixel once, and need a row of windows at a time."""
    asked: list[tuple[int, int]] = []
    image = torch.randn(3, 400, 300)

    def read(top: int, bottom: int) -> Tensor:
        asked.append((top, bottom))
        return image[:, top:bottom]

    covered = torch.zeros(400, 300, dtype=torch.int)
    corners = []
    with torch.inference_mode():
        for top, left, logits in slide(network(), read, size=(400, 300), window=(96, 96), overlap=0.25, batch_size=2):
            corners.append((top, left))
            covered[top : top + logits.shape[1], left : left + logits.shape[2]] += 1
    assert (covered == 1).all()
    assert corners == sorted(corners)
    assert max(bottom - top for top, bottom in asked) < 96 + 32


def test_weights_are_moved_once_for_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many windows there are, the weights of each axis go to the device in one piece, with the same bits."""
    moved: list[int] = []
    real = sliding._moved

    def move(weights: Sequence[Tensor], device: torch.device) -> Sequence[Tensor]:
        found = real(weights, device)
        assert all(torch.equal(one, other) for one, other in zip(weights, found, strict=True))
        assert len({weight.untyped_storage().data_ptr() for weight in found}) == 1
        moved.append(len(found))
        return found

    monkeypatch.setattr(sliding, "_moved", move)
    score_in_windows(network(), torch.rand(2, 3, 200, 300), window=(64, 64), overlap=0.25, batch_size=3)

    assert moved == [len(spans(length, 64, 0.25)) for length in (200, 300)] * 2
