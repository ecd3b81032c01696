"""What docs/deploy.md shows of using an exported file is run, where there is no torch."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

from segzoo import finetune, load_recipe
from segzoo.export.form import Form
from segzoo.export.model import export_model
from segzoo.export.onnx import PACKAGES
from segzoo.inference.loading import load

PAGE = Path(__file__).parents[1] / "docs/deploy.md"
NEEDED = ("numpy", "pillow", "onnxruntime")

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in PACKAGES), reason="the extra onnx is not installed"
)


def link_packages(site: Path) -> None:
    """Make a folder that holds what the page says is needed, what that requires, and nothing else."""
    site.mkdir()
    waiting, done = list(NEEDED), set()
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or () if file.parts[0] != ".."}:
            if not (site / top).exists():
                (site / top).symlink_to(str(found.locate_file(top)))
        required = [Requirement(text) for text in found.requires or ()]
        waiting += [each.name for each in required if each.marker is None or each.marker.evaluate({"extra": ""})]


def run_without_torch(site: Path, code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code where nothing but the standard library and the folder can be imported."""
    script = f"import sys; sys.path.append({str(site)!r})\n{code}"
    command = [sys.executable, "-I", "-S", "-c", script]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_python_without_torch(tmp_path: Path) -> None:
    """A dozen lines of numpy, Pillow and onnxruntime give the labels that segzoo gives, in the classes' colours."""
    changes = ["train.max_steps=4", "train.batch_size=4", "train.workers=0", "train.threads=1"]
    data = ["data.size=[32,48]", "data.image_size=[32,48]", 'data.counts={"train":4,"val":2}']
    run = finetune(load_recipe("quickstart", [*changes, *data]), out=tmp_path / "run", device="cpu").folder
    here = tmp_path / "here"
    here.mkdir()
    export_model(run, here / "model.onnx", Form())
    photo = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    Image.fromarray(photo).save(here / "photo.png")
    link_packages(tmp_path / "site")

    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    missing = run_without_torch(tmp_path / "site", "import torch", here)
    assert "No module named 'torch'" in missing.stderr
    done = run_without_torch(tmp_path / "site", code, here)
    assert done.returncode == 0, done.stderr

    predictor = load(run, device="cpu")
    labels = Image.open(here / "labels.png")
    assert np.array_equal(np.asarray(labels), predictor(photo))
    colors = np.asarray(labels.convert("RGB"))
    assert np.array_equal(colors, np.array(predictor.description.palette, dtype=np.uint8)[np.asarray(labels)])


def test_python_is_a_dozen_lines() -> None:
    """What the page promises to be short stays so, blank lines and imports apart."""
    for language in ("python", "js"):
        (code,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
        lines = [line for line in code.splitlines() if line and not line.startswith(("import ", "from "))]
        assert len(lines) <= 16, language


def test_javascript_is_read_by_node(tmp_path: Path) -> None:
    """The JavaScript has no mistake that its reader finds."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    (code,) = re.findall(r"^```js\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    (tmp_path / "label.mjs").write_text(code)
    done = subprocess.run([node, "--check", "label.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
