"""Third parties' models: entry points of installed distributions become registry entries.

One broken plugin never stops the others. ``SEGZOO_PLUGINS`` limits what is loaded (``none``, or distributions separated
by commas); ``SEGZOO_STRICT_PLUGINS=1`` raises the first fault at once.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import EntryPoint, distributions

from pydantic import ValidationError

from segzoo.catalog import BUILTIN_SPECS
from segzoo.environment import package_version
from segzoo.errors import MissingDistribution, PluginError
from segzoo.messages import explain
from segzoo.registry import BUILTIN, Entry, ModelInfo, Registry, Status, normalise
from segzoo.spec import Frozen, InputSpec, ModelSpec, Weights

logger = logging.getLogger(__name__)

GROUP = "segzoo.models"

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
    for spec in BUILTIN_SPECS:
        registry.add(
            Entry(spec.name, BUILTIN, package_version(BUILTIN), f"segzoo.catalog:{spec.name}", _constant(spec))
        )
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
    """Return the models that pass every filter; see :meth:`segzoo.registry.Registry.list`."""
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
    for name, version, points in _offers():
        if name in seen:
            continue  # an older copy further down sys.path
        seen.add(name)
        if wanted is None or name in wanted:
            for point in points:
                yield Entry(point.name, name, version, point.value, functools.partial(_load, point, name))
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
    return {normalise(name.strip()) for name in setting.split(",") if name.strip()}


def _offers() -> Iterator[tuple[str, str, list[EntryPoint]]]:
    """Yield the name, the version and the entry points of each distribution that offers models."""
    for distribution in distributions():
        try:
            # A look at the raw text first: parsing every package's metadata would cost more than all the rest.
            if GROUP not in (distribution.read_text("entry_points.txt") or ""):
                continue
            points = list(distribution.entry_points.select(group=GROUP))
            if not points:
                continue
            offer = normalise(distribution.metadata["Name"]), distribution.version, points
        except Exception as error:  # unrelated packages may have any kind of broken metadata
            logger.warning(
                "skipped a distribution with malformed metadata in %s: %s", distribution.locate_file(""), error
            )
        else:
            yield offer


def _load(point: EntryPoint, distribution: str) -> ModelSpec:
    """Import one plugin's spec; whatever its code raises or prints stays contained."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            loaded = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may raise SystemExit, too
        raise _fault(point, distribution, _reason(error)) from error
    if not isinstance(loaded, ModelSpec):
        raise _fault(point, distribution, f"expected a ModelSpec, got {type(loaded).__name__}")
    if loaded.name != point.name:
        raise _fault(point, distribution, f"the entry point is named {point.name!r}, the spec {loaded.name!r}")
    return loaded


def _reason(error: BaseException) -> str:
    if isinstance(error, ValidationError) and error.title in _SPEC_CLASSES:
        return f"{error.title}: {explain(error, _SPEC_CLASSES[error.title], None)}"
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # its __str__ is a plugin's code as well
        return type(error).__name__


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
