"""Exported files are opened with what is known of them, or refused with the reason."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from segzoo.errors import SegzooError, UsageFault
from segzoo.files import sha256_file
from segzoo.inference.description import is_exported
from segzoo.inference.exported import ExportDescription, Exported, first_cause, open_exported, quiet_runtimes
from segzoo.inference.loading import load_model


@pytest.fixture
def about(describe: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """Return a function that gives what lies beside a file of torch's formats."""

    def values(**fields: Any) -> dict[str, Any]:
        base: dict[str, Any] = describe().model_dump(mode="json")
        return (
            base
            | {"format": "torch-export", "precision": "fp16", "open_dimensions": ["height", "width"], "min_size": 8}
            | fields
        )

    return values


def test_names() -> None:
    """Suffixes tell exported files from folders and repositories."""
    assert is_exported("m.onnx")
    assert is_exported("M.ONNX")
    assert is_exported(Path("runs") / "m.pt2")
    assert not is_exported("runs/mine")
    assert not is_exported("hf-hub:acme/net.onnx")


def test_images_one_by_one() -> None:
    """A file that takes one image at once is given one at once."""
    seen: list[int] = []

    def network(image: torch.Tensor) -> torch.Tensor:
        seen.append(len(image))
        return 2 * image

    images = torch.rand(3, 2, 4, 4)
    assert torch.equal(Exported(network, one_by_one=True)(images), 2 * images)
    assert torch.equal(Exported(network, one_by_one=False)(images), 2 * images)
    assert seen == [1, 1, 1, 3]


def test_other_sizes_are_refused_where_one_is_fixed(about: Callable[..., dict[str, Any]]) -> None:
    """Windows and scales do not suit a file of one size; an open side may have any length."""
    described = about(image_size=[32, 48], open_dimensions=["batch", "width"])
    fixed = ExportDescription.model_validate_json(json.dumps(described)).fixed_size
    assert fixed == (32, None)
    network = Exported(lambda image: image, one_by_one=False, fixed_size=fixed)
    assert network(torch.rand(1, 3, 32, 60)).shape == (1, 3, 32, 60)
    with pytest.raises(
        UsageFault, match=r"takes 32x60 pixels here, got 40x60: leave out windows and scales, or export"
    ):
        network(torch.rand(1, 3, 40, 60))


def test_windows_need_open_sizes(about: Callable[..., dict[str, Any]]) -> None:
    """The windows of a run suit its exported file as long as that takes images of their size."""
    scored = {"passport": {"window": [64, 96]}}
    found = ExportDescription.model_validate_json(json.dumps(about(metrics=scored)))
    assert (found.window, found.title) == ((64, 96), "segzoo/fast_scnn (torch-export, fp16)")
    fixed = about(metrics=scored, open_dimensions=["batch"])
    assert ExportDescription.model_validate_json(json.dumps(fixed)).window is None


def test_missing_files(tmp_path: Path) -> None:
    """A file that is not there, and one without what belongs beside it, are told apart."""
    with pytest.raises(UsageFault, match=r"no file is named '.*m\.pt2'"):
        load_model(tmp_path / "m.pt2")
    (tmp_path / "m.pt2").write_bytes(b"")
    with pytest.raises(UsageFault, match=r"is described by m\.pt2\.json beside it, which is missing; copy both"):
        load_model(tmp_path / "m.pt2")


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not JSON"), ("[]", "is no file of `segzoo export`"), ("{}", "is no file of `segzoo export`")],
)
def test_damaged_descriptions(tmp_path: Path, content: str, message: str) -> None:
    """What lies beside a file has to describe it."""
    (tmp_path / "m.pt2").write_bytes(b"")
    (tmp_path / "m.pt2.json").write_text(content)
    with pytest.raises(UsageFault, match=message):
        open_exported(tmp_path / "m.pt2")


@pytest.mark.parametrize("format", ["torch-export", "aoti"])
def test_damaged_files(tmp_path: Path, about: Callable[..., dict[str, Any]], format: str) -> None:
    """A file that is not the one described is refused before torch sees it; one that torch cannot read is named."""
    (tmp_path / "m.pt2").write_bytes(b"PK no archive")
    for described in ({}, {"file_sha256": "0" * 64}):
        (tmp_path / "m.pt2.json").write_text(json.dumps(about(format=format, **described)))
        with pytest.raises(UsageFault, match=r"m\.pt2 is damaged, or is not the file that m\.pt2\.json describes"):
            open_exported(tmp_path / "m.pt2")
    own = sha256_file(tmp_path / "m.pt2")
    (tmp_path / "m.pt2.json").write_text(json.dumps(about(format=format, file_sha256=own)))
    with pytest.raises(SegzooError, match=r"torch cannot load m\.pt2: "):
        open_exported(tmp_path / "m.pt2")


@pytest.mark.parametrize("content", [b"", b"no model"])
def test_damaged_onnx(tmp_path: Path, content: bytes) -> None:
    """What onnxruntime cannot load is the file's fault, and the way out is said."""
    pytest.importorskip("onnxruntime")
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(UsageFault, match=r"onnxruntime cannot load m\.onnx: .*; it is damaged, or was never an ONNX"):
        open_exported(tmp_path / "m.onnx")


def test_quiet(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """What an exporter prints goes to stderr, what it warns of and logs nowhere; afterwards torch logs as before."""
    logger = logging.getLogger("torch.utils.inside")
    level = logger.getEffectiveLevel()
    with quiet_runtimes():
        warnings.warn("inside", stacklevel=1)
        logger.error("inside")
        print("progress")
    assert capsys.readouterr() == ("", "progress\n")
    assert caplog.records == []
    assert logger.getEffectiveLevel() == level
    assert sys.stdout is not sys.stderr


def test_first_cause() -> None:
    """Of errors that wrap each other the first one is told."""
    outer, inner = RuntimeError("advice"), ValueError("reason")
    outer.__cause__ = inner
    assert first_cause(outer) == "ValueError: reason"
