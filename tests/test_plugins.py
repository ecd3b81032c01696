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
from segzoo.errors import AmbiguousModel, MissingDistribution, PluginError
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
        (GOOD, "no target at all", "AttributeError: "),
        ("SPEC = {'name': 'lite'}", "bad_seg:SPEC", "expected a ModelSpec, got dict"),
        (GOOD, "bad_seg:LiteParams", "expected a ModelSpec, got ModelMetaclass"),
        (GOOD.replace('"lite"', '"light"'), "bad_seg:SPEC", "the entry point is named 'lite', the spec 'light'"),
        (
            GOOD.replace("license=", "api_version=99, license="),
            "bad_seg:SPEC",
            "ModelSpec: api_version = 99: api_version 99 is not known to this segzoo, which knows 1 to 1",
        ),
        (
            GOOD.replace("license=", "licence="),
            "bad_seg:SPEC",
            "ModelSpec: license: this key is required\nlicence = \"MIT\": unknown key. Did you mean 'license'?",
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
    raised = "expected" not in reason and "is named" not in reason
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


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("entry_points.txt", b"[segzoo.models]\nlite = \xff\xfe:SPEC\n"),
        ("entry_points.txt", b"[segzoo.models]\nno equals sign\n"),
        ("METADATA", b"\xff\xfe\x00"),
        ("METADATA", b""),
    ],
)
def test_malformed_metadata_is_survived(
    install: Install, offer: Install, caplog: pytest.LogCaptureFixture, file: str, content: bytes
) -> None:
    """A package whose metadata cannot be read is skipped with a warning; the others are all there."""
    offer("acme-seg", "unet_lite")
    info = install("odd-seg", {"lite": "odd_seg:SPEC"}, GOOD)
    (info / file).write_bytes(content)
    importlib.invalidate_caches()
    with caplog.at_level(logging.WARNING, logger="segzoo"):
        rows = plugins()
    assert "acme-seg/unet_lite" in {row.id for row in rows}
    assert not any(row.distribution.startswith("odd") for row in rows)
    assert f"skipped a distribution with malformed metadata in {info.parent}" in caplog.text


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
