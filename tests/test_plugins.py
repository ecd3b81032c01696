"""Installed distributions join the registry, and a broken one stops nothing but itself."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import segzoo
from segzoo.catalog import BUILTIN_SPECS
from segzoo.errors import AmbiguousModel, MissingDistribution, ParamsError, PluginError
from segzoo.params import validate_params
from segzoo.plugins import PluginInfo, default_registry, loaded_plugins, plugin_entries, plugins

Install = Callable[..., Path]

GOOD = """
from segzoo import ModelSpec, Params

class LiteParams(Params):
    width: int = 8

SPEC = ModelSpec(
    name="lite", summary="A model", family="acme", builder="nets:build", params=LiteParams, license="MIT"
)
"""


def status(model_id: str) -> PluginInfo:
    """Return the row of one third-party model."""
    (row,) = [row for row in plugins() if row.id == model_id]
    return row


def segzoo_command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would."""
    return subprocess.run([sys.executable, "-m", "segzoo", *words], capture_output=True, text=True, timeout=60)


def test_good_plugin_joins(offer: Install) -> None:
    """A model of an installed distribution has an id, is listed, and is reached by its bare name, too."""
    offer("Acme_Seg", "unet_lite", version="2.3", tags=("small",))
    assert status("acme-seg/unet_lite") == PluginInfo(
        id="acme-seg/unet_lite",
        distribution="acme-seg",
        version="2.3",
        target="Acme_Seg:SPEC",
        status="ok",
        error=None,
    )
    assert segzoo.get_spec("unet_lite") is segzoo.get_spec("acme-seg/unet_lite")
    assert segzoo.is_model("Acme.Seg/unet_lite")
    (row,) = segzoo.list_models("acme-seg/*")
    assert (row.summary, row.tags, row.license) == ("What unet_lite is", ("small",), "Apache-2.0")


def test_names_are_known_without_running_plugin_code(install: Install, tmp_path: Path) -> None:
    """Metadata alone tells names, ids, origins and versions."""
    ran = tmp_path / "ran"
    install("acme-seg", {"lite": "acme_seg:SPEC"}, f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n{GOOD}")
    registry = default_registry()
    assert registry.resolve("segnet").id == "segzoo/segnet"
    assert {"lite", "acme-seg/lite"} <= set(registry.names())
    assert segzoo.is_model("lite")
    assert not ran.exists()
    assert registry.resolve("lite").spec().name == "lite"
    assert ran.exists()


@pytest.mark.parametrize(
    ("code", "target", "reason"),
    [
        ("raise RuntimeError('no luck')", "bad_seg:SPEC", "RuntimeError: no luck"),
        ("import sys; sys.exit('bye')", "bad_seg:SPEC", "SystemExit: bye"),
        ("raise GeneratorExit", "bad_seg:SPEC", "GeneratorExit: "),
        ("import no_such_dependency", "bad_seg:SPEC", "ModuleNotFoundError: No module named 'no_such_dependency'"),
        ("from segzoo import NoSuchName", "bad_seg:SPEC", "ImportError: cannot import name 'NoSuchName'"),
        ("this is no python", "bad_seg:SPEC", "SyntaxError: invalid syntax"),
        ("", "bad_seg:SPEC", "AttributeError: module 'bad_seg' has no attribute 'SPEC'"),
        ("", "no_such_module:SPEC", "ModuleNotFoundError: No module named 'no_such_module'"),
        (GOOD, "no target at all", "the entry point is not of the form module:attribute"),
        (GOOD, "bad_seg", "the entry point is not of the form module:attribute"),
        ("SPEC = {'name': 'lite'}", "bad_seg:SPEC", "expected a ModelSpec, got dict"),
        (GOOD, "bad_seg:LiteParams", "expected a ModelSpec, got ModelMetaclass"),
        (
            GOOD.replace("license=", "requires=('no-such-ops>=2',), license="),
            "bad_seg:SPEC",
            "requires 'no-such-ops>=2', but no-such-ops is not installed; "
            "install it with: pip install 'no-such-ops>=2'",
        ),
        (
            GOOD.replace("license=", "requires=('pydantic<2',), license="),
            "bad_seg:SPEC",
            f"requires 'pydantic<2', but pydantic {importlib.metadata.version('pydantic')} is installed; "
            "change it with: pip install 'pydantic<2'",
        ),
        (
            GOOD.replace("license=", "requires=('pydantic two',), license="),
            "bad_seg:SPEC",
            "requires: 'pydantic two' is not a requirement: ",
        ),
        (GOOD.replace('"lite"', '"light"'), "bad_seg:SPEC", "the entry point is named 'lite', the spec 'light'"),
        (
            GOOD.replace("license=", "api_version=99, license="),
            "bad_seg:SPEC",
            "ModelSpec: api_version = 99: api_version 99 is not known to this segzoo, which knows 1 to 1",
        ),
        (
            GOOD.replace("license=", "licence="),
            "bad_seg:SPEC",
            "ModelSpec: license: this key is required; licence = \"MIT\": unknown key. Did you mean 'license'?",
        ),
        (
            "from segzoo import Weights\nWeights(ulr='https://x/y', license='MIT')",
            "bad_seg:SPEC",
            "Weights: ulr = \"https://x/y\": unknown key. Did you mean 'url'?",
        ),
        (
            "from pydantic import BaseModel\nclass Own(BaseModel):\n    name: int\nOwn()",
            "bad_seg:SPEC",
            "ValidationError: 1 validation error for Own\nname\n  Field required",
        ),
        (
            "class Mute(Exception):\n    def __str__(self):\n        return None\nraise Mute",
            "bad_seg:SPEC",
            "Mute",
        ),
    ],
)
def test_broken_plugin_breaks_alone(install: Install, offer: Install, code: str, target: str, reason: str) -> None:
    """Whatever a plugin does, the list goes on and shows the reason; using it fails with exit code 3, cause chained."""
    offer("acme-seg", "unet_lite")
    install("bad-seg", {"lite": target}, code)
    assert status("acme-seg/unet_lite").status == "ok"
    row = status("bad-seg/lite")
    assert row.status == "broken"
    assert row.error is not None
    assert row.error.startswith(f"the plugin bad-seg/lite ({target}) is broken: {reason}")
    with pytest.raises(PluginError) as caught:
        segzoo.get_spec("lite")
    assert caught.value.exit_code == 3
    assert str(caught.value) == row.error
    raised = not any(word in reason for word in ("expected a", "is named", "the form", "requires '"))
    assert (caught.value.__cause__ is not None) == raised


def test_keyboard_interrupt_passes(install: Install) -> None:
    """A user who presses Ctrl-C while a plugin is imported wants the command to end."""
    install("bad-seg", {"lite": "bad_seg:SPEC"}, "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        plugins()
    done = segzoo_command("list")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


def test_what_a_plugin_prints_stays_off_stdout(install: Install) -> None:
    """A program that reads the list gets JSON and nothing else."""
    install("loud-seg", {"lite": "loud_seg:SPEC"}, f"print('hello from a plugin')\n{GOOD}")
    done = segzoo_command("list", "--json", "loud-seg/*")
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["id"], row["status"]) == ("loud-seg/lite", "ok")
    assert "hello from a plugin" in done.stderr


def test_two_plugins_may_claim_one_name(offer: Install) -> None:
    """Both stay reachable by their ids; the bare name is refused with both."""
    offer("acme-seg", "lite")
    offer("beta-seg", "lite")
    assert {row.status for row in plugins()} == {"ok"}
    assert segzoo.get_spec("beta-seg/lite").name == "lite"
    with pytest.raises(AmbiguousModel, match="write one of acme-seg/lite, beta-seg/lite"):
        segzoo.get_spec("lite")


def test_builtin_wins_its_name(offer: Install) -> None:
    """A plugin's model of the same name is marked, and reached by its id."""
    offer("acme-seg", "segnet")
    assert status("acme-seg/segnet").status == "shadowed"
    assert segzoo.get_spec("segnet").family == "scratch"
    assert segzoo.get_spec("acme-seg/segnet").family == "acme"


def test_namespace_cannot_be_claimed(install: Install) -> None:
    """The first half of an id comes from metadata; a slash in the entry point's name buys nothing."""
    install("acme-seg", {"segzoo/mine": "acme_seg:SPEC"}, GOOD.replace('"lite"', '"mine"'))
    (row,) = plugins()
    assert row.id == "acme-seg/segzoo/mine"
    assert row.status == "broken"
    assert not segzoo.is_model("segzoo/mine")


def test_name_declared_twice_is_told(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    """Of two entry points of one name the first is used, and the author hears of it."""
    info = install("acme-seg", {"lite": "acme_seg:SPEC"}, GOOD)
    (info / "entry_points.txt").write_text("[segzoo.models]\nlite = acme_seg:SPEC\nlite = acme_seg:OTHER\n")
    with caplog.at_level(logging.WARNING, logger="segzoo"):
        assert status("acme-seg/lite").target == "acme_seg:SPEC"
    assert "the entry point lite of acme-seg/lite is declared twice" in caplog.text


def test_first_copy_on_the_path_counts(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older copy further down sys.path is not what Python would import, so it is not listed."""
    older = tmp_path / "older"
    older.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(older)])
    install("acme-seg", {"lite": "acme_seg:SPEC", "gone": "acme_seg:SPEC"}, GOOD, version="0.9", folder=older)
    install("acme-seg", {"lite": "acme_seg:SPEC"}, GOOD, version="1.0")
    assert [(row.id, row.version) for row in plugins()] == [("acme-seg/lite", "1.0")]


def test_newer_copy_without_models_counts(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The models of an older copy are gone when the copy that Python imports offers none."""
    older = tmp_path / "older"
    older.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(older)])
    install("acme-seg", {"lite": "acme_seg:SPEC"}, GOOD, version="0.9", folder=older)
    assert [row.version for row in plugins()] == ["0.9"]
    info = install("acme-seg", {}, GOOD, version="1.0")
    (info / "entry_points.txt").unlink()
    assert plugins() == []


@pytest.mark.parametrize("name", ["Lite", "lite-2", "lite.2", "my lite"])
def test_name_of_an_entry_point_is_checked(install: Install, name: str) -> None:
    """A name that no spec can have is a fault of its own, said before the plugin's code runs."""
    install("bad-seg", {name: "bad_seg:SPEC"}, "raise KeyboardInterrupt")
    (row,) = plugins()
    assert (row.id, row.status) == (f"bad-seg/{name}", "broken")
    assert row.error is not None
    assert row.error.endswith("is broken: a model's name has only lower-case letters, digits and underscores")


def test_extras_of_an_entry_point_are_no_fault(install: Install) -> None:
    """What packaging tools may write behind the target does not matter."""
    install("acme-seg", {"lite": "acme_seg : SPEC [gpu]"}, GOOD)
    assert status("acme-seg/lite").status == "ok"


def test_requirement_that_is_met_or_meant_for_others(install: Install) -> None:
    """A requirement that is met is no fault, and one with a marker for another machine asks for nothing here."""
    requires = "requires=('pydantic>=2', 'no-such-ops; python_version < \"3\"'), license="
    install("acme-seg", {"lite": "acme_seg:SPEC"}, GOOD.replace("license=", requires))
    assert status("acme-seg/lite").status == "ok"


@pytest.mark.parametrize("name", ["segzoo", "Local"])
def test_names_of_segzoo_are_taken(install: Install, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """No distribution can put its models among the built-ins, or among those of this process."""
    info = install("acme-seg", {"lite": "acme_seg:SPEC"}, GOOD)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    info.rename(info.with_name(f"{name}-1.0.dist-info"))
    importlib.invalidate_caches()
    with caplog.at_level(logging.WARNING, logger="segzoo"):
        assert plugins() == []
    message = f"skipped the models of {name}-1.0.dist-info: no other distribution may be named {name.lower()!r}"
    assert caplog.messages == [message]


@pytest.mark.parametrize(
    ("file", "content", "row_id", "reason"),
    [
        ("entry_points.txt", b"[segzoo.models]\nlite = \xff\xfe:SPEC\n", "odd-seg/?", "the entry points of odd-seg"),
        ("entry_points.txt", b"[segzoo.models]\nno equals sign\n", "odd-seg/?", "the entry points of odd-seg"),
        ("METADATA", b"\xff\xfe\x00", "odd-seg/lite", "the metadata of odd-seg"),
        ("METADATA", b"", "odd-seg/lite", "the metadata of odd-seg"),
        ("METADATA", None, "odd-seg/lite", "the metadata of odd-seg"),
    ],
)
def test_malformed_metadata_is_a_fault(
    install: Install, offer: Install, file: str, content: bytes | None, row_id: str, reason: str
) -> None:
    """What an interrupted installation leaves is shown with the way out, and the others are all there."""
    offer("acme-seg", "unet_lite")
    info = install("odd-seg", {"lite": "odd_seg:SPEC"}, GOOD)
    if content is None:
        (info / file).unlink()
    else:
        (info / file).write_bytes(content)
    importlib.invalidate_caches()
    assert status("acme-seg/unet_lite").status == "ok"
    row = status(row_id)
    assert row.status == "broken"
    assert row.error is not None
    assert f"is broken: {reason} cannot be read: " in row.error
    assert row.error.endswith("; install odd-seg again")


def test_unrelated_packages_may_be_odd(install: Install, offer: Install, caplog: pytest.LogCaptureFixture) -> None:
    """Packages that offer no models are not even looked at closely, so their faults are nobody's business."""
    offer("acme-seg", "unet_lite")
    site = install("other", {}, "").parent
    (site / "other-1.0.dist-info" / "entry_points.txt").write_text("[console_scripts\nx y z\n")
    (site / "empty-1.dist-info").mkdir()
    (site / "file-1.dist-info").write_text("a file where a folder is expected")
    (site / "x.egg-info").write_bytes(b"\xff\xfe")
    importlib.invalidate_caches()
    with caplog.at_level(logging.WARNING, logger="segzoo"):
        assert [row.id for row in plugins()] == ["acme-seg/unet_lite"]
    assert caplog.text == ""


@pytest.mark.parametrize("setting", ["none", " none "])
def test_plugins_can_be_left_out(offer: Install, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    """``SEGZOO_PLUGINS=none`` leaves the built-ins alone; an id of what was left out is no reason to install it."""
    offer("acme-seg", "unet_lite", before="raise RuntimeError")
    monkeypatch.setenv("SEGZOO_PLUGINS", setting)
    assert plugins() == []
    assert len(segzoo.list_models()) == len(BUILTIN_SPECS)
    with pytest.raises(PluginError, match=r"'acme-seg' is installed, but no models of it are loaded.*SEGZOO_PLUGINS"):
        segzoo.get_spec("acme-seg/unet_lite")


@pytest.mark.parametrize(
    ("setting", "loaded"),
    [
        ("beta-seg", ["beta-seg/b"]),
        ("Beta_Seg, acme-seg", ["acme-seg/a", "beta-seg/b"]),
        ("", ["acme-seg/a", "beta-seg/b", "gamma-seg/c"]),
        (",", []),
    ],
)
def test_plugins_can_be_chosen(
    offer: Install, monkeypatch: pytest.MonkeyPatch, setting: str, loaded: list[str]
) -> None:
    """``SEGZOO_PLUGINS`` takes names of distributions in any spelling; empty is as if it were not set."""
    for distribution, name in (("acme-seg", "a"), ("beta-seg", "b"), ("gamma-seg", "c")):
        offer(distribution, name)
    monkeypatch.setenv("SEGZOO_PLUGINS", setting)
    assert [row.id for row in plugins()] == loaded


@pytest.mark.parametrize("setting", ["acme-sge", "acme-seg,acme-sge", "none,acme-seg", "pydantic", "segzoo"])
def test_unknown_choice_is_an_error(offer: Install, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    """A name that offers no models is a mistake of the environment; the message has those that do."""
    offer("acme-seg", "unet_lite")
    monkeypatch.setenv("SEGZOO_PLUGINS", setting)
    wrong = next(name for name in setting.split(",") if name != "acme-seg")
    with pytest.raises(MissingDistribution, match=f"SEGZOO_PLUGINS names '{wrong}'.*those that do: acme-seg"):
        list(plugin_entries())


def test_strict_plugins_raise_at_once(offer: Install, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """``SEGZOO_STRICT_PLUGINS=1`` is for authors: the first fault ends every command."""
    offer("acme-seg", "unet_lite")
    monkeypatch.setenv("SEGZOO_STRICT_PLUGINS", "1")
    assert [row.status for row in plugins()] == ["ok"]
    install("bad-seg", {"lite": "bad_seg:SPEC"}, "raise RuntimeError('no luck')")
    for _ in range(2):
        with pytest.raises(PluginError, match=r"bad-seg/lite .* is broken: RuntimeError: no luck"):
            default_registry()
    done = segzoo_command("show", "segnet")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: the plugin bad-seg/lite (bad_seg:SPEC) is broken: RuntimeError: no luck")
    monkeypatch.setenv("SEGZOO_STRICT_PLUGINS", "0")
    assert len(plugins()) == 2


def test_local_models_are_third_party(install: Install) -> None:
    """A model registered in this process is listed with the plugins, without a version."""
    install("acme-seg", {"lite": "acme_seg:SPEC"}, GOOD)
    spec = segzoo.get_spec("lite").model_copy(update={"name": "mine"})
    assert segzoo.register(spec) == "local/mine"
    row = status("local/mine")
    assert (row.version, row.target, row.status) == (None, "nets:build", "ok")
    assert segzoo.get_spec("mine") is spec


def test_record_of_plugins_used(offer: Install) -> None:
    """A run notes distribution and version of the models that are not built in."""
    offer("acme-seg", "unet_lite", version="2.3")
    assert loaded_plugins(["segzoo/segnet", "acme-seg/unet_lite"]) == [
        {"id": "acme-seg/unet_lite", "distribution": "acme-seg", "version": "2.3"}
    ]


def test_every_builtin_is_in_the_registry(install: Install) -> None:
    """Without plugins the registry is the catalog, at segzoo's own version."""
    registry = default_registry()
    builtins = [entry for entry in registry if entry.distribution == "segzoo"]
    assert sorted(entry.name for entry in builtins) == sorted(spec.name for spec in BUILTIN_SPECS)
    assert {entry.version for entry in builtins} == {importlib.metadata.version("segzoo")}


def test_failing_check_of_parameters_is_the_plugins_fault(install: Install) -> None:
    """A user cannot help it when an author's own check breaks down."""
    code = """
from pydantic import field_validator
""" + GOOD.replace(
        "    width: int = 8\n",
        "    width: int = 8\n\n    @field_validator('width')\n    def check(cls, value):\n        return value / 0\n",
    )
    install("acme-seg", {"lite": "acme_seg:SPEC"}, code)
    with pytest.raises(PluginError, match="LiteParams, the parameters of lite, cannot be checked: ZeroDiv") as caught:
        validate_params(segzoo.get_spec("lite"), {"width": 3})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


BUILDER = (
    GOOD.replace("nets:build", "acme_seg:build")
    + """
def build(params, *, in_channels, num_classes):
    print("hello from a builder")
    {body}
"""
)


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (
            "raise ValueError('width 3 is odd')",
            PluginError,
            "build of lite failed: ValueError: width 3 is odd",
        ),
        ("raise SystemExit('bye')", PluginError, "acme_seg:build of lite failed: SystemExit: bye"),
        ("return 'a string'", PluginError, "acme_seg:build of lite returned no nn.Module but str"),
        ("raise segzoo.errors.ParamsError('no luck')", ParamsError, "no luck"),
        ("raise KeyboardInterrupt", KeyboardInterrupt, "^$"),
    ],
)
def test_what_a_builder_does_stays_contained(
    install: Install, capfd: pytest.CaptureFixture[str], body: str, error: type[BaseException], message: str
) -> None:
    """A fault names builder and model, what is meant for the user passes, and nothing that is printed is data."""
    install("acme-seg", {"lite": "acme_seg:SPEC"}, "import segzoo.errors\n" + BUILDER.format(body=body))
    with pytest.raises(error, match=message) as caught:
        segzoo.create_model("acme-seg/lite", num_classes=2)
    assert (caught.value.__cause__ is not None) == ("failed" in message)
    out, err = capfd.readouterr()
    assert (out, "hello from a builder" in err) == ("", True)


def test_what_a_builtin_says_of_a_value_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A built-in's builder is no plugin: its ``ValueError`` reaches whoever gave the value."""

    def refuse(params: object, *, in_channels: int, num_classes: int) -> None:
        raise ValueError("no luck")

    monkeypatch.setattr("segzoo.models.fast_scnn.build", refuse)
    with pytest.raises(ValueError, match="no luck"):
        segzoo.create_model("fast_scnn", num_classes=2)
