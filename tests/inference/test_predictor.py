"""A predictor labels arrays at their own resolution, whole or in windows, from any number of threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import segzoo
from segzoo.data.normalise import Normalise
from segzoo.data.source import Pixels
from segzoo.data.transforms import resize
from segzoo.inference.description import ModelDescription
from segzoo.inference.loading import load_model
from segzoo.inference.method import Method
from segzoo.inference.predictor import Predictor
from segzoo.scoring.evaluation import resize_logits

Describe = Callable[..., ModelDescription]


class Colours(nn.Module):
    """Scores each class by one channel, after a look at a few neighbours."""

    def __init__(self, *, min_size: int = 1) -> None:
        super().__init__()
        self.look = nn.AvgPool2d(3, stride=1, padding=1)
        self.min_size = min_size

    def forward(self, image: Tensor) -> Tensor:
        """Return as many classes as channels."""
        if min(image.shape[-2:]) < self.min_size:
            raise ValueError(f"too small: {tuple(image.shape)}")
        # Sums of bytes are often equal; no two classes ever are.
        logits: Tensor = self.look(image) + 5e-4 * torch.arange(3)[:, None, None]
        return logits


def picture(*size: int, seed: int = 0) -> Pixels:
    """Return noise."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def predictor(describe: Describe) -> Callable[..., Predictor]:
    """Return a maker of predictors on the CPU."""

    def make(min_size: int = 1, **fields: Any) -> Predictor:
        return Predictor(Colours(min_size=min_size), describe(**fields), min_size=min_size, device=torch.device("cpu"))

    return make


def test_labels_are_those_of_the_network(run_folder: Path) -> None:
    """What a run predicts is its network's argmax on the resized, normalised image, resized to the image."""
    loaded = load_model(run_folder)
    about = loaded.description
    image = picture(61, 75)
    assert about.image_size is not None
    seen = torch.from_numpy(resize(image, None, about.image_size)[0].transpose(2, 0, 1).copy())[None]
    with torch.inference_mode():
        logits = resize_logits(loaded.model(Normalise(about.mean, about.std)(seen)), (61, 75))[0]
    mask = segzoo.load(run_folder, device="cpu")(image)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, logits.argmax(0).numpy())
    probabilities = segzoo.load(run_folder, device="cpu").probabilities(image)
    assert np.allclose(probabilities, logits.softmax(0).numpy(), atol=1e-6)


def test_images_of_several_sizes(predictor: Callable[..., Predictor]) -> None:
    """A list is labelled as its members are, in their order, those of one size together."""
    images = [picture(9, 11), picture(9, 11, seed=1), picture(3, 50), picture(1, 1), picture(9, 11, seed=2)]
    made = predictor()
    assert len(made.predict(iter(images))) == len(images)
    for image, mask in zip(images, made.predict(images, Method(batch_size=2)), strict=True):
        assert mask.shape == image.shape[:2]
        assert np.array_equal(mask, made(image))


def test_small_images_are_padded(predictor: Callable[..., Predictor]) -> None:
    """An image below the network's smallest size is seen with its edges repeated, and labelled at its own."""
    made = predictor(min_size=32)
    assert made(picture(3, 500)).shape == (3, 500)
    image = np.full((2, 40, 3), 10, np.uint8)
    image[..., 1] = 200
    assert (made(image) == 1).all()


@pytest.mark.parametrize("size", [(300, 200), (64, 333)])
def test_windows_give_the_labels_of_the_whole_image(predictor: Callable[..., Predictor], size: tuple[int, int]) -> None:
    """In memory and in parts, with windows that overlap, the labels are those of the image as a whole."""
    made, image = predictor(), picture(*size)
    whole = made(image)
    method = Method(window=(96, 64), overlap=0.25, batch_size=3)
    assert np.array_equal(made(image, method), whole)
    parts = np.full(size, 99, np.uint8)
    for top, left, labels in made.blocks(lambda top, bottom: image[top:bottom], size, method):
        parts[top : top + labels.shape[0], left : left + labels.shape[1]] = labels
    assert np.array_equal(parts, whole)


def test_labels_in_strips_are_those_of_the_whole(
    predictor: Callable[..., Predictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image too large for logits of its size is labelled strip by strip, with the same result."""
    made, image = predictor(image_size=[40, 30]), picture(171, 230)
    expected = made(image)
    monkeypatch.setattr("segzoo.inference.predictor.PLANE", 3 * 230 * 20)
    found = made(image)
    assert (found != expected).mean() < 1e-4  # where two classes are equal but for rounding


def test_the_window_of_the_run_is_the_default(predictor: Callable[..., Predictor]) -> None:
    """A model that was scored in windows is used in windows, one that saw images whole sees them whole."""
    scored = {"passport": {"window": [64, 96]}}
    assert predictor(metrics=scored, image_size=[32, 32]).method.window == (64, 96)
    assert predictor().method.window is None
    image = picture(100, 130)
    in_windows = predictor(metrics=scored, image_size=[32, 32])(image)
    assert np.array_equal(in_windows, predictor()(image))


def test_crf_and_augmentations_act(predictor: Callable[..., Predictor]) -> None:
    """Both change what an unsure network says of noise."""
    made, image = predictor(), picture(40, 40)
    plain = made(image)
    for method in (Method(crf=True), Method(augmentations=("scales",))):
        assert (made(image, method) != plain).mean() > 0.01
    refined = made.probabilities(image, Method(crf=True))
    assert np.array_equal(refined.argmax(0), made(image, Method(crf=True)))


def test_threads_share_a_predictor(run_folder: Path) -> None:
    """Several threads get what one gets."""
    made = segzoo.load(run_folder, device="cpu")
    images = [picture(50 + number, 64, seed=number) for number in range(12)]
    expected = [made(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(made, images))
    assert all(np.array_equal(one, other) for one, other in zip(expected, found, strict=True))


def test_best_says_the_same_on_the_cpu(run_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The mode tries, tells what it chose, and labels alike."""
    with caplog.at_level("INFO", logger="segzoo"):
        best = segzoo.load(run_folder, device="cpu", mode="best")
    assert best.choice == best.way.name
    assert [trial.way.compiled for trial in best.trials] == [False, False, True]
    assert f"runs as {best.choice}" in caplog.text
    image = picture(64, 80)
    assert (best(image) != segzoo.load(run_folder, device="cpu")(image)).mean() < 0.01


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "uint8, got float32"),
        ([[1, 2]], "uint8, got list"),
        (np.zeros((4, 4), np.uint8), r"\(H, W, 3\), got \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"\(H, W, 3\), got \(4, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"got \(0, 4, 3\)"),
    ],
)
def test_other_arrays_are_refused(predictor: Callable[..., Predictor], image: Any, message: str) -> None:
    """What is no image is told with its type or shape."""
    with pytest.raises(ValueError, match=message):
        predictor()(image)


def test_parts_need_a_window(predictor: Callable[..., Predictor]) -> None:
    """Without a window there are no parts, and a CRF needs the image whole."""
    for method in (Method(), Method(window=(8, 8), crf=True)):
        with pytest.raises(ValueError, match="with a window and without a CRF"):
            next(predictor().blocks(lambda top, bottom: picture(1, 1), (1, 1), method))


def test_unknown_mode_is_refused(run_folder: Path) -> None:
    """A typo is told."""
    with pytest.raises(ValueError, match="got 'fast'"):
        segzoo.load(run_folder, device="cpu", mode="fast")  # type: ignore[arg-type]
