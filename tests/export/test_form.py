"""What cannot be exported is refused before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segzoo.errors import UnknownName, UsageFault
from segzoo.export.form import Form, check_target, check_writable


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "onxx"}, r"no format named 'onxx'. Did you mean 'onnx'\?"),
        ({"precision": "int9"}, r"no precision named 'int9'. Did you mean 'int8'\?"),
    ],
)
def test_unknown_names(fields: dict[str, Any], message: str) -> None:
    """A typo gets a suggestion."""
    with pytest.raises(UnknownName, match=message):
        Form(**fields)


@pytest.mark.parametrize("format", ["torch-export", "aoti"])
def test_int8_is_onnx(format: Any) -> None:
    """Torch's formats have no int8 here; the way out is told."""
    with pytest.raises(UsageFault, match=f"int8 is made for ONNX alone, got --format {format}; take --format onnx"):
        Form(format, "int8")


@pytest.mark.parametrize(("precision", "exact"), [("fp32", True), ("fp16", False), ("int8", False)])
def test_exact(precision: Any, exact: bool) -> None:
    """Only float32 has the numbers of the original."""
    assert Form("onnx", precision).exact is exact


@pytest.mark.parametrize(("format", "name"), [("onnx", "m.onnx"), ("torch-export", "m.pt2"), ("aoti", "m.pt2")])
def test_targets(tmp_path: Path, format: Any, name: str) -> None:
    """Each format has its suffix, and a better name is suggested."""
    check_target(tmp_path / name, Form(format), overwrite=False)
    with pytest.raises(UsageFault, match=f"format {format} ends in .*; write m{Path(name).suffix}"):
        check_target(tmp_path / "m.bin", Form(format), overwrite=False)


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    """A missing folder, a folder, and a file that may not be replaced are told by name."""
    with pytest.raises(UsageFault, match=r"the folder .*missing does not exist"):
        check_writable(tmp_path / "missing" / "m.json", overwrite=True)
    with pytest.raises(UsageFault, match="is a folder; name a file in it"):
        check_writable(tmp_path, overwrite=True)
    (tmp_path / "m.json").touch()
    with pytest.raises(UsageFault, match=r"m.json exists; choose another name, or pass --overwrite"):
        check_writable(tmp_path / "m.json", overwrite=False)
    check_writable(tmp_path / "m.json", overwrite=True)
