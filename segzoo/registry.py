"""The registry: names to specs, with suggestions for typos and an origin for every model."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from packaging.utils import canonicalize_name

from segzoo.environment import package_version
from segzoo.errors import (
    AmbiguousModel,
    MissingDistribution,
    PluginError,
    UnknownModel,
    UsageFault,
    did_you_mean,
)
from segzoo.spec import Frozen, ModelSpec

logger = logging.getLogger(__name__)

BUILTIN = "segzoo"
LOCAL = "local"
Status = Literal["ok", "broken", "shadowed", "deprecated"]

_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


class ModelInfo(Frozen):
    """One row of ``segzoo list``."""

    id: str
    name: str
    family: str | None
    summary: str | None
    distribution: str
    version: str | None
    status: Status
    error: str | None
    license: str | None
    papers: tuple[str, ...]
    tags: tuple[str, ...]


class Entry:
    """One model of the registry: its name and origin are known, its spec is loaded when it is first asked for.

    Args:
        name: The bare name.
        distribution: The normalised name of the distribution that offers it.
        version: That distribution's version, where it has one.
        target: Where the spec comes from, as ``"module:attribute"``.
        load: Returns the spec or raises :class:`PluginError`.
    """

    def __init__(
        self, name: str, distribution: str, version: str | None, target: str, load: Callable[[], ModelSpec]
    ) -> None:
        self.name = name
        self.distribution = distribution
        self.version = version
        self.target = target
        self._load = load
        self._outcome: ModelSpec | PluginError | None = None

    @property
    def id(self) -> str:
        """The full id, ``<distribution>/<name>``."""
        return f"{self.distribution}/{self.name}"

    def spec(self) -> ModelSpec:
        """Return the spec.

        Raises:
            PluginError: If the plugin is broken; the cause is chained.
        """
        if self._outcome is None:
            try:
                self._outcome = self._load()
            except PluginError as error:
                self._outcome = error
        if isinstance(self._outcome, PluginError):
            raise self._outcome
        return self._outcome

    def __repr__(self) -> str:
        return f"Entry({self.id!r}, target={self.target!r})"


class Registry:
    """Models by id and by bare name.

    A built-in always wins a bare name; two other models that share one must be written with their ids.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def add(self, entry: Entry) -> None:
        """Add an entry.

        Raises:
            UsageFault: If the id is taken.
        """
        if entry.id in self._entries:
            raise UsageFault(f"the model {entry.id!r} is registered already")
        self._entries[entry.id] = entry

    def register(self, spec: ModelSpec) -> str:
        """Add a model of this process under ``local/`` and return its id.

        Raises:
            UsageFault: If the name is taken.
        """
        entry = Entry(spec.name, LOCAL, None, spec.builder, lambda: spec)
        self.add(entry)
        return entry.id

    def resolve(self, name: str) -> Entry:
        """Return the entry of an id, a bare name or an alias.

        Raises:
            UnknownModel: If there is none; the nearest names are suggested.
            AmbiguousModel: If several plugins claim the bare name.
            MissingDistribution: If the id's distribution is not installed.
            PluginError: If it is installed, but none of its models are loaded.
        """
        entry = self._by_id(name) if "/" in name else self._by_bare_name(name)
        if entry is None:
            entry = self._by_alias(name)
        if entry is None:
            raise self._unknown(name)
        self._warn_if_deprecated(entry)
        return entry

    def names(self) -> list[str]:
        """Return every word that :meth:`resolve` takes without loading plugins: ids and bare names."""
        return sorted({*self._entries, *(entry.name for entry in self)})

    def list(
        self,
        pattern: str = "*",
        *,
        tags: Sequence[str] = (),
        family: str | None = None,
        origin: str | None = None,
        pretrained: bool = False,
        license: str | None = None,
    ) -> list[ModelInfo]:
        """Return the models that pass every filter, built-ins first, then by id; an empty list where none does.

        Args:
            pattern: A glob; with a ``/`` it matches ids, otherwise names.
            tags: Every one of these must be a tag of the model.
            family: The model's family.
            origin: The distribution that offers the model.
            pretrained: Only models that have pretrained weights.
            license: SPDX identifier, compared without case.
        """
        found = [entry for entry in self if _matches(entry, pattern, origin)]
        rows = [self.info(entry) for entry in found if not pretrained or _has_weights(entry)]
        return [
            row
            for row in rows
            if set(tags) <= set(row.tags)
            and family in (None, row.family)
            and (license is None or (row.license or "").lower() == license.lower())
        ]

    def info(self, entry: Entry) -> ModelInfo:
        """Return the row that describes an entry; a broken plugin's holds the reason."""
        error: str | None = None
        spec: ModelSpec | None = None
        status: Status = "ok"
        try:
            spec = entry.spec()
        except PluginError as broken:
            status, error = "broken", str(broken)
        else:
            if entry.distribution != BUILTIN and self._builtin(entry.name):
                status = "shadowed"
            elif spec.deprecated:
                status, error = "deprecated", spec.deprecated
        return ModelInfo(
            id=entry.id,
            name=entry.name,
            family=spec.family if spec else None,
            summary=spec.summary if spec else None,
            distribution=entry.distribution,
            version=entry.version,
            status=status,
            error=error,
            license=spec.license if spec else None,
            papers=spec.papers if spec else (),
            tags=spec.tags if spec else (),
        )

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        try:
            return (self._by_id(name) if "/" in name else self._by_bare_name(name)) is not None
        except AmbiguousModel:
            return True

    def __iter__(self) -> Iterator[Entry]:
        return iter(sorted(self._entries.values(), key=lambda entry: (entry.distribution != BUILTIN, entry.id)))

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        origins = sorted({entry.distribution for entry in self})
        return f"<Registry of {len(self)} models from {', '.join(origins) or 'nowhere'}>"

    def _by_id(self, name: str) -> Entry | None:
        distribution, _, bare = name.partition("/")
        return self._entries.get(f"{canonicalize_name(distribution)}/{bare}")

    def _builtin(self, name: str) -> Entry | None:
        """Return the built-in of this name or alias."""
        found = self._entries.get(f"{BUILTIN}/{name}")
        if found is not None:
            return found
        return next((entry for entry in self if entry.distribution == BUILTIN and name in _aliases(entry)), None)

    def _by_bare_name(self, name: str) -> Entry | None:
        builtin = self._builtin(name)
        if builtin is not None:
            return builtin
        found = [entry for entry in self if entry.name == name]
        if len(found) > 1:
            raise AmbiguousModel(name, [entry.id for entry in found])
        return found[0] if found else None

    def _by_alias(self, name: str) -> Entry | None:
        distribution, _, bare = name.rpartition("/")
        found = [
            entry
            for entry in self
            if (not distribution or entry.distribution == canonicalize_name(distribution)) and bare in _aliases(entry)
        ]
        if len(found) > 1:
            raise AmbiguousModel(name, [entry.id for entry in found])
        return found[0] if found else None

    def _unknown(self, name: str) -> UnknownModel | PluginError | MissingDistribution:
        distribution = name.rpartition("/")[0]
        if not distribution:
            return UnknownModel(name, (entry.name for entry in self))
        origins = {entry.distribution for entry in self} | {LOCAL}
        if canonicalize_name(distribution) in origins or not _DISTRIBUTION.fullmatch(distribution):
            return UnknownModel(name, self._entries)
        near = did_you_mean(name, self._entries).strip()
        hint = f" ({near})" if near else ""
        if package_version(distribution) is not None:
            return PluginError(
                f"no model {name!r}: the distribution {distribution!r} is installed, but no models of it are "
                f"loaded{hint}; see `segzoo plugins`, and SEGZOO_PLUGINS if it is set"
            )
        return MissingDistribution(
            f"no model {name!r}: the distribution {distribution!r} is not installed{hint}; "
            f"install it with: pip install {distribution} (your own: pip install --editable FOLDER)"
        )

    def _warn_if_deprecated(self, entry: Entry) -> None:
        try:
            reason = entry.spec().deprecated
        except PluginError:
            return  # whoever uses the entry is told
        if reason:
            logger.warning("the model %s is deprecated: %s", entry.id, reason)


def _matches(entry: Entry, pattern: str, origin: str | None) -> bool:
    if origin is not None and entry.distribution != canonicalize_name(origin):
        return False
    return fnmatch.fnmatchcase(entry.id if "/" in pattern else entry.name, pattern)


def _has_weights(entry: Entry) -> bool:
    try:
        return bool(entry.spec().weights)
    except PluginError:
        return False


def _aliases(entry: Entry) -> tuple[str, ...]:
    try:
        return entry.spec().aliases
    except PluginError:
        return ()
