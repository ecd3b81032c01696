"""ONNX in int8: weights and activations of 8 bits, by ranges that real images show."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from segzoo.errors import SegzooError
from segzoo.export.parity_report import Speed
from segzoo.inference.exported import OnnxNetwork, first_cause, quiet_runtimes

ROUNDS = 20
WARM_UP = 3


class _Images:
    """The images that ranges are taken from, as onnxruntime asks for them."""

    def __init__(self, images: Iterable[Tensor]) -> None:
        self._images: Iterator[Tensor] = iter(images)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next input, or None after the last."""
        image = next(self._images, None)
        return None if image is None else {"image": image.numpy()}


def quantise(path: Path, target: Path, images: Iterable[Tensor]) -> None:
    """Write an ONNX file in int8.

    Args:
        path: The file in float32.
        target: The file in int8.
        images: ``(1, in_channels, H, W)`` each, normalised; the ranges of all activations are what these show.

    Raises:
        SegzooError: If onnxruntime cannot quantise the network.
    """
    quantization = importlib.import_module("onnxruntime.quantization")
    preparation = importlib.import_module("onnxruntime.quantization.shape_inference")
    prepared = target.with_suffix(".prepared.onnx")
    try:
        with quiet_runtimes():
            # Folds batch norms into convolutions. Symbolic shapes are for transformers, and fail on open sizes.
            preparation.quant_pre_process(path, prepared, skip_symbolic_shape=True)
            quantization.quantize_static(
                prepared,
                target,
                _Images(images),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                # Weights of 7 bits: CPUs without VNNI add pairs of products in 16 bits, which saturate.
                reduce_range=True,
            )
    except Exception as error:  # it raises whatever goes wrong inside
        raise SegzooError(f"the model cannot be quantised: {first_cause(error)}") from error
    finally:
        prepared.unlink(missing_ok=True)


def measure_speed(fp32: OnnxNetwork, int8: OnnxNetwork, image: Tensor) -> Speed:
    """Time two files on one image, in turn, so that what else the machine does meets both.

    Args:
        fp32: The file in float32.
        int8: The file in int8.
        image: ``(1, in_channels, H, W)``, normalised.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(WARM_UP + ROUNDS):
        for network, times in zip((fp32, int8), seconds, strict=True):
            start = time.perf_counter()
            network(image)
            times.append(time.perf_counter() - start)
    before, after = (1000 * median(times[WARM_UP:]) for times in seconds)
    height, width = image.shape[-2:]
    return Speed(
        size=(height, width),
        threads=1,
        rounds=ROUNDS,
        fp32_ms=round(before, 3),
        int8_ms=round(after, 3),
        speed_up=round(before / after, 3),
    )
