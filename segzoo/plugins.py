"""Third parties' models: entry points of installed distributions become registry entries.

One broken plugin never stops the others. ``SEGZOO_PLUGINS`` limits what is loaded (``none``, or distributions separated
by commas); ``SEGZOO_STRICT_PLUGINS=1`` raises the first fault at once.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import EntryPoint

from packaging.utils import canonicalize_name
from pydantic import ValidationError

from segzoo.catalog import BUILTIN_SPECS
from segzoo.distributions import offers
from segzoo.environment import package_version, unmet_requirement
from segzoo.errors import MissingDistribution, PluginError, fault_text
from segzoo.messages import explain
from segzoo.registry import BUILTIN, LOCAL, Entry, ModelInfo, Registry, Status
from segzoo.spec import Frozen, InputSpec, ModelSpec, Weights

logger = logging.getLogger(__name__)

GROUP = "segzoo.models"
_NAME = re.compile(r"[a-z0-9_]+")
_TARGET = re.compile(r"[\w.]+\s*:\s*[\w.]+\s*(\[.*\])?")
_SPEC_CLASSES: dict[str, type[Frozen]] = {kind.__name__: kind for kind in (ModelSpec, InputSpec, Weights)}


class PluginInfo(Frozen):
    """One row of ``segzoo plugins``."""

    id: str
    distribution: str
    version: str | None
    target: str
    status: Status
    error: str | None


@functools.cache
def default_registry() -> Registry:
    """Return this process's registry: the built-ins and what installed distributions offer."""
    registry = Registry()
    version = package_version(BUILTIN)
    for spec in BUILTIN_SPECS:
        registry.add(Entry(spec.name, BUILTIN, version, f"segzoo.catalog:{spec.name}", _constant(spec)))
    for entry in plugin_entries():
        if entry.id in registry:
            logger.warning("the entry point %s of %s is declared twice; the first is used", entry.name, entry.id)
        else:
            registry.add(entry)
    if os.environ.get("SEGZOO_STRICT_PLUGINS") == "1":
        for entry in registry:
            entry.spec()
    return registry


def plugins() -> list[PluginInfo]:
    """Return every third-party model with its distribution, version, target and status."""
    registry = default_registry()
    rows = []
    for entry in registry:
        if entry.distribution != BUILTIN:
            info = registry.info(entry)
            rows.append(
                PluginInfo(
                    id=info.id,
                    distribution=info.distribution,
                    version=info.version,
                    target=entry.target,
                    status=info.status,
                    error=info.error,
                )
            )
    return rows


def list_models(
    pattern: str = "*",
    *,
    tags: Sequence[str] = (),
    family: str | None = None,
    origin: str | None = None,
    pretrained: bool = False,
    license: str | None = None,
) -> list[ModelInfo]:
    """Return the models that pass every filter, an empty list where none does.

    The filters are those of :meth:`segzoo.registry.Registry.list`.
    """
    return default_registry().list(
        pattern, tags=tags, family=family, origin=origin, pretrained=pretrained, license=license
    )


def get_spec(name: str) -> ModelSpec:
    """Return the spec of a model, by id, bare name or alias; see :meth:`segzoo.registry.Registry.resolve`."""
    return default_registry().resolve(name).spec()


def is_model(name: str) -> bool:
    """Say whether an id or a bare name is in the registry."""
    return name in default_registry()


def register(spec: ModelSpec) -> str:
    """Add a model of this process, such as one from a notebook, and return its id, ``local/<name>``."""
    return default_registry().register(spec)


def plugin_entries() -> Iterator[Entry]:
    """Yield an entry for each entry point, from metadata alone.

    Raises:
        MissingDistribution: If ``SEGZOO_PLUGINS`` names a distribution that offers no models.
    """
    wanted = _wanted(os.environ.get("SEGZOO_PLUGINS"))
    seen: set[str] = set()
    for offer in offers(GROUP):
        name = offer.name
        if name in (BUILTIN, LOCAL):
            logger.warning("skipped the models of %s: no other distribution may be named %r", offer.folder, name)
            continue
        if name in seen:
            continue  # another copy in the same folder
        seen.add(name)
        if wanted is None or name in wanted:
            for point in offer.points:
                load = functools.partial(_load, point, name, offer.fault)
                yield Entry(point.name, name, offer.version, point.value, load)
    unknown = sorted((wanted or set()) - seen)
    if unknown:
        raise MissingDistribution(
            f"SEGZOO_PLUGINS names {unknown[0]!r}, but no installed distribution of that name offers models; "
            f"those that do: {', '.join(sorted(seen)) or 'none'}"
        )


def _wanted(setting: str | None) -> set[str] | None:
    if setting is None or not setting.strip():
        return None
    if setting.strip() == "none":
        return set()
    return {canonicalize_name(name.strip()) for name in setting.split(",") if name.strip()}


def _load(point: EntryPoint, distribution: str, fault: str | None) -> ModelSpec:
    """Import one plugin's spec; whatever its code raises or prints stays contained."""
    if fault is not None:
        raise _fault(point, distribution, fault)
    if not _NAME.fullmatch(point.name):
        raise _fault(point, distribution, "a model's name has only lower-case letters, digits and underscores")
    if not _TARGET.fullmatch(point.value):
        raise _fault(point, distribution, "the entry point is not of the form module:attribute")
    try:
        with stdout_to_stderr():
            loaded = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may raise SystemExit, too
        raise _fault(point, distribution, _reason(error)) from error
    if not isinstance(loaded, ModelSpec):
        raise _fault(point, distribution, f"expected a ModelSpec, got {type(loaded).__name__}")
    if loaded.name != point.name:
        raise _fault(point, distribution, f"the entry point is named {point.name!r}, the spec {loaded.name!r}")
    for text in loaded.requires:
        _require(text, point, distribution)
    return loaded


def _require(text: str, point: EntryPoint, distribution: str) -> None:
    try:
        reason = unmet_requirement(text)
    except ValueError as error:
        reason = f"requires: {text!r} is not a requirement: {str(error).splitlines()[0]}"
        raise _fault(point, distribution, reason) from error
    if reason is not None:
        raise _fault(point, distribution, reason)


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what is printed inside the block to stderr, by C code and child processes too: stdout carries data only."""
    with contextlib.redirect_stdout(sys.stderr):
        if sys.__stdout__ is None or sys.__stderr__ is None:  # closed when the process began
            yield
            return
        _flush()
        saved = os.dup(1)
        try:
            os.dup2(2, 1)
            yield
        finally:
            _flush()
            os.dup2(saved, 1)
            os.close(saved)


def _flush() -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()


def _reason(error: BaseException) -> str:
    if isinstance(error, ValidationError) and error.title in _SPEC_CLASSES:
        # A table has one line for each plugin.
        return f"{error.title}: {'; '.join(explain(error, _SPEC_CLASSES[error.title], None).splitlines())}"
    return fault_text(error)


def _fault(point: EntryPoint, distribution: str, reason: str) -> PluginError:
    return PluginError(f"the plugin {distribution}/{point.name} ({point.value}) is broken: {reason}")


def _constant(spec: ModelSpec) -> functools.partial[ModelSpec]:
    return functools.partial(lambda value: value, spec)


def loaded_plugins(ids: Iterable[str]) -> list[dict[str, str | None]]:
    """Return id, distribution and version of those of ``ids`` that come from plugins, for a run's record."""
    registry = default_registry()
    entries = [registry.resolve(model_id) for model_id in ids]
    return [
        {"id": entry.id, "distribution": entry.distribution, "version": entry.version}
        for entry in entries
        if entry.distribution != BUILTIN
    ]
