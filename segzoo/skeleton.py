"""The skeleton of a package that offers a model: spec, network, test with the contract kit, metadata."""

from __future__ import annotations

import datetime
import keyword
import re
import sys
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from packaging.utils import canonicalize_name

from segzoo.catalog import BUILTIN_SPECS
from segzoo.environment import package_version
from segzoo.errors import UsageFault

FILES = {
    "pyproject.toml": "pyproject.toml.j2",
    "README.md": "README.md.j2",
    "LICENSE": "LICENSE.j2",
    ".gitignore": "gitignore.j2",
    "src/{module}/__init__.py": "init.py.j2",
    "src/{module}/specs.py": "specs.py.j2",
    "src/{module}/network.py": "network.py.j2",
    "src/{module}/py.typed": None,
    "tests/test_network.py": "test_network.py.j2",
}
"""Where each template of ``segzoo/templates/plugin`` goes; None is an empty file."""

NEEDED = {"segzoo", "torch", "pydantic", "pytest"}
"""Modules that the skeleton imports, and that one of the same name would hide."""

_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?")


def write_skeleton(name: str, folder: Path) -> Path:
    """Write the skeleton into a new folder, named after the package, and return that folder.

    Args:
        name: Name of the distribution, in any spelling that PEP 503 takes for the same.
        folder: Where the new folder goes; it is made where it is missing.

    Raises:
        UsageFault: If the name cannot be used, or the new folder exists.
    """
    distribution = check_name(name)
    target = folder / distribution
    if target.exists():
        raise UsageFault(f"{target} exists; choose another name or another --out")
    if folder.exists() and not folder.is_dir():
        raise UsageFault(f"{folder} is not a folder; choose another --out")
    module = distribution.replace("-", "_")
    contents = _render(distribution, module)
    for path, text in contents.items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return target


def check_name(name: str) -> str:
    """Return the name of a distribution as PEP 503 writes it.

    Raises:
        UsageFault: If it is no name for a distribution with a module and a model of the same name; a better one is
            suggested.
    """
    if not _NAME.fullmatch(name):
        raise UsageFault(
            f"{name!r} cannot name a package: a name begins with a letter, ends with a letter or a digit and has only "
            f"letters, digits, '-' and '_'. Did you mean {_suggestion(name)!r}?"
        )
    distribution = canonicalize_name(name)
    module = distribution.replace("-", "_")
    if module in NEEDED or module in sys.stdlib_module_names or keyword.iskeyword(module):
        raise UsageFault(
            f"a package named {name!r} would hide the module {module!r}, or could not be imported. "
            f"Did you mean 'my-{distribution}'?"
        )
    if any(module in (spec.name, *spec.aliases) for spec in BUILTIN_SPECS):
        raise UsageFault(
            f"the package's model would be named {module!r}, and a built-in has that name. "
            f"Did you mean 'my-{distribution}'?"
        )
    return distribution


def _suggestion(name: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return words if words[:1].isalpha() else f"seg-{words}".strip("-")


def _render(distribution: str, module: str) -> dict[str, str]:
    """Return the text of each file by its path."""
    version = package_version("segzoo")
    context = {
        "distribution": distribution,
        "module": module,
        "model": module,
        "id": f"{distribution}/{module}",
        "constant": module.upper(),
        "class": "".join(word.capitalize() for word in module.split("_")),
        "segzoo": f"segzoo>={version}" if version else "segzoo",
        "year": datetime.datetime.now(tz=datetime.UTC).year,
    }
    # Not the environment of segzoo.page: that one escapes for HTML.
    templates = Environment(
        loader=PackageLoader("segzoo", "templates/plugin"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    return {
        path.format(module=module): templates.get_template(template).render(context) if template else ""
        for path, template in FILES.items()
    }
