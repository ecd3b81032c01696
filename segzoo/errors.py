"""What segzoo raises when a user's input or a machine is at fault.

    SegzooError                 exit 1: the run or a check failed
    ├── UsageFault              exit 2: usage, recipe or data
    │   ├── UnknownName         a name that no table holds, with suggestions
    │   │   └── UnknownModel
    │   ├── AmbiguousModel      a bare name that several plugins claim
    │   ├── RecipeError         a recipe that cannot be read or breaks the schema
    │   ├── ParamsError         model parameters that the model's spec refuses
    │   ├── DataError           a data folder, image or mask
    │   │   └── MissingDataError the data is not there at all
    │   ├── RunDirectoryError   a run directory that exists, is in use, or does not fit the recipe
    │   └── NotAvailable        valid, but not built in this version
    ├── EnvironmentFault        exit 3: plugin, package, device or network
    │   ├── PluginError
    │   ├── MissingDistribution
    │   ├── DeviceError
    │   └── DownloadError
    ├── TrainingError           exit 1: the run itself went wrong
    └── Interrupted             exit 128 + signal number

Values handed to a Python function raise ``ValueError`` where they are used; only ``segzoo.cli`` catches these.
"""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable

FEW = 16
"""Names that a message lists where none of them is near the one that was asked for."""


class SegzooError(Exception):
    """Base of all errors that segzoo reports to its user without a traceback."""

    exit_code = 1


class UsageFault(SegzooError):  # noqa: N818 - the tree above tells whose fault it is
    """The command, the recipe or the data is at fault."""

    exit_code = 2


class UnknownName(UsageFault):
    """A name that is not in the table it was looked up in.

    Args:
        kind: What was looked for, such as ``"recipe"``.
        name: What the user wrote.
        choices: The names that exist; the nearest are suggested, and where none is near all of a few are listed.
    """

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        known = sorted(set(choices))
        listed = f" Known: {', '.join(known)}." if 0 < len(known) <= FEW else ""
        super().__init__(f"no {kind} named {name!r}.{did_you_mean(name, known) or listed}")


class UnknownModel(UnknownName):
    """No model has this name."""

    def __init__(self, name: str, choices: Iterable[str]) -> None:
        super().__init__("model", name, choices)


class AmbiguousModel(UsageFault):
    """Several plugins offer a model under one bare name."""

    def __init__(self, name: str, ids: Iterable[str]) -> None:
        super().__init__(f"the model name {name!r} is ambiguous: write one of {', '.join(sorted(ids))}")


class RecipeError(UsageFault):
    """A recipe cannot be read or does not fit the schema."""


class ParamsError(UsageFault):
    """A model's parameters do not fit its spec."""


class DataError(UsageFault):
    """A data folder, an image or a mask cannot be used."""


class MissingDataError(DataError):
    """The folder of a recipe's data is not there, or holds nothing of it."""


class RunDirectoryError(UsageFault):
    """A run directory exists, is in use, or was made by another recipe."""


class NotAvailable(UsageFault):
    """The recipe is valid, but this version does not build what it asks for."""

    def __init__(self, what: str, *, plural: bool = False) -> None:
        super().__init__(f"{what} {'are' if plural else 'is'} not available in this version")


class EnvironmentFault(SegzooError):  # noqa: N818
    """A plugin, a package, a device or the network is at fault."""

    exit_code = 3


class PluginError(EnvironmentFault):
    """A plugin could not be loaded or is not what its metadata promises."""


class MissingDistribution(EnvironmentFault):
    """A package that is needed is not installed, or not in the version needed."""


class DeviceError(EnvironmentFault):
    """The device asked for is not there."""


class DownloadError(EnvironmentFault):
    """A file could not be fetched, or is not what was promised."""


class TrainingError(SegzooError):
    """Training cannot go on; the last good checkpoint is kept."""


class Interrupted(SegzooError):  # noqa: N818 - a run that stops on request has not failed
    """A signal asked the run to stop, and its state was saved."""

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.signum = signum
        self.signal_name = signal.Signals(signum).name
        self.exit_code = 128 + signum


def did_you_mean(name: str, choices: Iterable[str], *, limit: int = 3, before: str = "") -> str:
    """Return ``" Did you mean 'a' or 'b'?"`` for the choices nearest to ``name``, else an empty string.

    Args:
        name: What the user wrote.
        choices: What there is.
        limit: How many are suggested at most.
        before: Written before each suggestion and not compared, such as the folder of a file.
    """
    close = difflib.get_close_matches(name, sorted(set(choices)), n=limit)
    if not close:
        return ""
    return f" Did you mean {' or '.join(repr(before + match) for match in close)}?"


def fault_text(error: BaseException) -> str:
    """Return class and message of whatever other code raised, even where its ``__str__`` raises as well."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__
