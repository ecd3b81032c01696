"""The layer table of docs/architecture.md is law."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {
    "torch",
    "torchvision",
    "torchmetrics",
    "numpy",
    "segmentation_models_pytorch",
    "timm",
    "albumentations",
    "cv2",
}


def read_table() -> tuple[list[str], int]:
    """Return the table's paths in order, and how many of them stand above the line."""
    text = (ROOT / "docs/architecture.md").read_text()
    lines = text.split("```layers\n")[1].split("```")[0].splitlines()
    border = next(index for index, line in enumerate(lines) if line.startswith("----"))
    return [line.split()[0] for line in lines if not line.startswith("----")], border


LAYERS, BORDER = read_table()
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "segzoo").rglob("*.py"))


def layer_of(module: str) -> int:
    """Return the line of the table that a file belongs to."""
    matches = [
        index
        for index, layer in enumerate(LAYERS)
        if module == layer or (layer.endswith("/") and module.startswith(layer))
    ]
    assert len(matches) == 1, f"{module} stands on {len(matches)} lines of the table"
    return matches[0]


def imports(module: str) -> set[str]:
    """Return the dotted names that a file imports anywhere, inside functions and type-checking blocks too."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} uses a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def file_of(name: str) -> str | None:
    """Return the file behind a dotted name of segzoo, or None for other packages."""
    parts = name.split(".")
    if parts[0] != "segzoo":
        return None
    for length in range(len(parts), 0, -1):
        stem = "/".join(parts[:length])
        for candidate in (f"{stem}.py", f"{stem}/__init__.py"):
            if candidate in MODULES:
                return candidate
    raise AssertionError(f"nothing is named {name}")


def test_table_and_tree_agree() -> None:
    """Every file stands on one line of the table, and every line has a file."""
    used = {layer_of(module) for module in MODULES}
    assert used == set(range(len(LAYERS)))


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_up(module: str) -> None:
    """A file imports only from lines above its own, or from its own folder."""
    own = layer_of(module)
    for name in imports(module):
        target = file_of(name)
        if target is None:
            continue
        same = layer_of(target) == own and LAYERS[own].endswith("/")
        assert layer_of(target) < own or same, f"{module} imports {name}, which is not above it"


@pytest.mark.parametrize("module", [module for module in MODULES if layer_of(module) < BORDER])
def test_no_torch_above_the_line(module: str) -> None:
    """Nothing above the line imports a heavy package, not even inside a function."""
    heavy = {name for name in imports(module) if name.split(".")[0] in HEAVY}
    assert not heavy


def test_only_one_file_imports_smp() -> None:
    """segmentation_models_pytorch is met in one place."""
    users = {module for module in MODULES if any(name.startswith("segmentation_models") for name in imports(module))}
    assert users == {"segzoo/smp.py"}


@pytest.mark.parametrize(
    "code",
    [
        "import segzoo; segzoo.list_models(); segzoo.get_spec('segnet'); segzoo.plugins(); dir(segzoo)",
        *(
            f"from segzoo.cli import app; app({words!r}, standalone_mode=False)"
            for words in (
                ["list"],
                ["list", "--json"],
                ["show", "unet_resnet34"],
                ["plugins"],
                ["env"],
                ["recipe", "ls"],
                ["recipe", "show", "quickstart"],
                ["recipe", "validate", "voc_unet_resnet34"],
                ["recipe", "schema", "--with-plugins"],
            )
        ),
    ],
)
def test_light_commands_load_nothing_heavy(code: str) -> None:
    """Looking around loads no torch, numpy, smp, timm or albumentations."""
    script = f"{code}\nimport sys\nprint(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr.splitlines()[-1] == "[]", done.stderr


FILES_IN_A_FOLDER, LINES_OF_A_FILE, LINES_OF_A_TEST = 26, 330, 450


def test_rooms_are_small() -> None:
    """No folder has more files at its own level than can be looked over, and no file more lines than one reads."""
    for folder in {Path(module).parent for module in MODULES}:
        count = len(list((ROOT / folder).glob("*.py")))
        assert count <= FILES_IN_A_FOLDER, f"{folder} has {count} files"
    tests = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")]
    for limit, paths in ((LINES_OF_A_FILE, MODULES), (LINES_OF_A_TEST, tests)):
        for path in paths:
            lines = len((ROOT / path).read_text().splitlines())
            assert lines <= limit, f"{path} has {lines} lines, more than {limit}"


def test_no_circle() -> None:
    """No file imports, over whatever other files, one that imports it; imports inside functions count."""
    graph = {module: {found for name in imports(module) if (found := file_of(name))} - {module} for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))
