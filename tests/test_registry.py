"""Names lead to one model or to a helpful refusal."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from segzoo.errors import AmbiguousModel, MissingDistribution, PluginError, UnknownModel, UsageFault
from segzoo.registry import BUILTIN, Entry, Registry
from segzoo.spec import ModelSpec, Params, Weights


def make(name: str, **fields: Any) -> ModelSpec:
    """Return a spec."""
    return ModelSpec(
        **{
            "name": name,
            "summary": f"What {name} is",
            "family": "acme",
            "builder": "acme.nets:build",
            "params": Params,
            "license": "MIT",
            **fields,
        }
    )


def entry(name: str, distribution: str = "acme-seg", **fields: Any) -> Entry:
    """Return an entry of a distribution."""
    spec = make(name, **fields)
    return Entry(name, distribution, "1.0", f"acme:{name.upper()}", lambda: spec)


def broken(name: str, distribution: str = "acme-seg") -> Entry:
    """Return an entry whose spec cannot be loaded."""

    def load() -> ModelSpec:
        raise PluginError(f"the plugin {distribution}/{name} is broken: no luck")

    return Entry(name, distribution, "1.0", f"acme:{name.upper()}", load)


def filled(*entries: Entry) -> Registry:
    """Return a registry with these entries."""
    registry = Registry()
    for item in entries:
        registry.add(item)
    return registry


def ids(registry: Registry, *patterns: str, **filters: Any) -> list[str]:
    """Return the ids that a list holds."""
    return [row.id for row in registry.list(*patterns, **filters)]


@pytest.fixture
def zoo() -> Registry:
    """Two built-ins and the models of two plugins, one name in both, one shadowed, one broken."""
    pinned = Weights(hub="a/b", revision="abc", license="MIT")
    return filled(
        entry("lite", "acme-seg", tags=("small", "fast"), license="Apache-2.0"),
        entry("lite", "zeta", tags=("small",)),
        entry("segnet", "acme-seg"),
        broken("gone", "acme-seg"),
        entry("unique", "zeta", family="zeta", weights={"x": pinned}),
        entry("segnet", BUILTIN, aliases=("badrinarayanan",), tags=("small",)),
        entry("unet", BUILTIN, deprecated="use segnet"),
    )


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("segnet", "segzoo/segnet"),
        ("segzoo/segnet", "segzoo/segnet"),
        ("acme-seg/segnet", "acme-seg/segnet"),
        ("Acme_Seg/segnet", "acme-seg/segnet"),
        ("acme.seg/lite", "acme-seg/lite"),
        ("zeta/lite", "zeta/lite"),
        ("unique", "zeta/unique"),
        ("badrinarayanan", "segzoo/segnet"),
        ("segzoo/badrinarayanan", "segzoo/segnet"),
        ("gone", "acme-seg/gone"),
    ],
)
def test_resolve(zoo: Registry, name: str, found: str) -> None:
    """An id, a name that is unambiguous, and an alias lead to their model; a built-in wins its bare name."""
    assert zoo.resolve(name).id == found


def test_two_plugins_with_one_name_are_ambiguous(zoo: Registry) -> None:
    """Neither plugin wins: the message names both ids, in order."""
    with pytest.raises(AmbiguousModel, match="'lite' is ambiguous: write one of acme-seg/lite, zeta/lite"):
        zoo.resolve("lite")


def test_two_plugins_with_one_alias_are_ambiguous() -> None:
    """An alias is no more exclusive than a name."""
    registry = filled(entry("a", "acme-seg", aliases=("old",)), entry("b", "zeta", aliases=("old",)))
    with pytest.raises(AmbiguousModel, match="'old' is ambiguous: write one of acme-seg/a, zeta/b"):
        registry.resolve("old")
    assert registry.resolve("zeta/old").id == "zeta/b"


def test_a_builtins_alias_cannot_be_taken() -> None:
    """A plugin's name or alias that is a built-in's alias is shadowed, too."""
    registry = filled(
        entry("segnet", BUILTIN, aliases=("old",)), entry("old", "acme-seg"), entry("b", "zeta", aliases=("old",))
    )
    assert registry.resolve("old").id == "segzoo/segnet"
    assert registry.resolve("acme-seg/old").id == "acme-seg/old"
    assert {row.id: row.status for row in registry.list()}["acme-seg/old"] == "shadowed"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("segnt", "no model named 'segnt'. Did you mean 'segnet'"),
        ("uniqe", "no model named 'uniqe'. Did you mean 'unique'"),
        ("segzoo/segnt", "no model named 'segzoo/segnt'. Did you mean 'segzoo/segnet'"),
        ("acme-seg/lit", "no model named 'acme-seg/lit'. Did you mean 'acme-seg/lite'"),
        ("local/anything", "no model named 'local/anything'."),
        ("zzzzzz", "no model named 'zzzzzz'."),
        ("", "no model named ''."),
        ("x y; rm/z", "no model named 'x y; rm/z'."),
        ("a/b/c", "no model named 'a/b/c'."),
    ],
)
def test_unknown_names_get_suggestions(zoo: Registry, name: str, message: str) -> None:
    """The value is quoted, the nearest names follow in the form that was used, and nothing is to be installed."""
    with pytest.raises(UnknownModel) as caught:
        zoo.resolve(name)
    assert str(caught.value).startswith(message)
    assert "pip install" not in str(caught.value)


def test_unknown_distribution_says_what_to_install(zoo: Registry) -> None:
    """An id of a distribution that is not there is the environment's fault, and pip is the way out."""
    with pytest.raises(MissingDistribution) as caught:
        zoo.resolve("no-such-seg/model")
    assert str(caught.value) == (
        "no model 'no-such-seg/model': the distribution 'no-such-seg' is not installed; "
        "install it with: pip install no-such-seg (your own: pip install --editable FOLDER)"
    )


def test_misspelt_distribution_gets_a_suggestion(zoo: Registry) -> None:
    """Before anyone installs a package of another name, the nearest id is shown."""
    with pytest.raises(MissingDistribution, match=r"not installed \(Did you mean 'segzoo/segnet'.*\?\); install it"):
        zoo.resolve("segzo/segnet")


def test_installed_distribution_without_models_is_not_to_be_installed(zoo: Registry) -> None:
    """What is installed needs no pip: it offers nothing, or a setting leaves it out."""
    with pytest.raises(PluginError) as caught:
        zoo.resolve("pydantic/model")
    assert "the distribution 'pydantic' is installed, but no models of it are loaded" in str(caught.value)
    assert "pip install" not in str(caught.value)


def test_broken_entry_fails_only_when_used(zoo: Registry) -> None:
    """Its name resolves; asking for its spec raises the same error each time."""
    found = zoo.resolve("gone")
    for _ in range(2):
        with pytest.raises(PluginError, match="acme-seg/gone is broken: no luck"):
            found.spec()


def test_specs_are_loaded_once_and_late() -> None:
    """Nothing is loaded until a spec is asked for, and then only once."""
    calls: list[str] = []

    def load() -> ModelSpec:
        calls.append("load")
        return make("lite")

    registry = filled(Entry("lite", "acme-seg", "1.0", "acme:LITE", load))
    assert "lite" in registry
    assert registry.names() == ["acme-seg/lite", "lite"]
    assert calls == []
    assert registry.resolve("lite").spec() is registry.resolve("acme-seg/lite").spec()
    assert calls == ["load"]


def test_deprecation_is_logged(zoo: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever resolves a deprecated model is told why, and what to use."""
    with caplog.at_level(logging.WARNING, logger="segzoo"):
        zoo.resolve("segnet")
        assert caplog.messages == []
        zoo.resolve("unet")
    assert caplog.messages == ["the model segzoo/unet is deprecated: use segnet"]


def test_local_registration() -> None:
    """A notebook's model lives in local/, cannot be registered twice, and never wins over a built-in."""
    registry = filled(entry("segnet", BUILTIN))
    assert registry.register(make("mine")) == "local/mine"
    assert registry.resolve("mine").id == "local/mine"
    with pytest.raises(UsageFault, match="'local/mine' is registered already"):
        registry.register(make("mine", summary="Another"))
    assert registry.resolve("mine").spec().summary == "What mine is"
    assert registry.register(make("segnet")) == "local/segnet"
    assert registry.resolve("segnet").id == "segzoo/segnet"
    assert registry.list(origin="local")[1].status == "shadowed"


def test_statuses(zoo: Registry) -> None:
    """A list tells what is broken, shadowed and deprecated, with the reason."""
    told = {row.id: (row.status, row.error) for row in zoo.list()}
    assert told == {
        "segzoo/segnet": ("ok", None),
        "segzoo/unet": ("deprecated", "use segnet"),
        "acme-seg/gone": ("broken", "the plugin acme-seg/gone is broken: no luck"),
        "acme-seg/lite": ("ok", None),
        "acme-seg/segnet": ("shadowed", None),
        "zeta/lite": ("ok", None),
        "zeta/unique": ("ok", None),
    }


def test_rows_describe_their_model(zoo: Registry) -> None:
    """A row has what the spec and the distribution say; a broken one what is known without the spec."""
    (row,) = zoo.list("acme-seg/lite")
    assert row.model_dump() == {
        "id": "acme-seg/lite",
        "name": "lite",
        "family": "acme",
        "summary": "What lite is",
        "distribution": "acme-seg",
        "version": "1.0",
        "status": "ok",
        "error": None,
        "license": "Apache-2.0",
        "papers": (),
        "tags": ("small", "fast"),
    }
    (row,) = zoo.list("gone")
    assert (row.family, row.summary, row.license, row.tags) == (None, None, None, ())
    assert (row.distribution, row.version) == ("acme-seg", "1.0")


def test_order_of_a_list(zoo: Registry) -> None:
    """Built-ins come first; within an origin the ids are sorted."""
    assert ids(zoo) == [
        "segzoo/segnet",
        "segzoo/unet",
        "acme-seg/gone",
        "acme-seg/lite",
        "acme-seg/segnet",
        "zeta/lite",
        "zeta/unique",
    ]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("segnet", ["segzoo/segnet", "acme-seg/segnet"]),
        ("*net", ["segzoo/segnet", "segzoo/unet", "acme-seg/segnet"]),
        ("l?te", ["acme-seg/lite", "zeta/lite"]),
        ("[!s]*et", ["segzoo/unet"]),
        ("zeta*", []),
        ("zeta/*", ["zeta/lite", "zeta/unique"]),
        ("*/lite", ["acme-seg/lite", "zeta/lite"]),
        ("segzoo/*net", ["segzoo/segnet", "segzoo/unet"]),
        ("SEGNET", []),
    ],
)
def test_globs(zoo: Registry, pattern: str, found: list[str]) -> None:
    """A pattern with a slash is compared with ids, any other with names."""
    assert ids(zoo, pattern) == found


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"tags": ["small"]}, ["segzoo/segnet", "acme-seg/lite", "zeta/lite"]),
        ({"tags": ["small", "fast"]}, ["acme-seg/lite"]),
        ({"family": "zeta"}, ["zeta/unique"]),
        ({"origin": "Acme.Seg"}, ["acme-seg/gone", "acme-seg/lite", "acme-seg/segnet"]),
        ({"pretrained": True}, ["zeta/unique"]),
        ({"license": "apache-2.0"}, ["acme-seg/lite"]),
        ({"license": "GPL-3.0"}, []),
        ({"origin": "zeta", "tags": ["small"]}, ["zeta/lite"]),
    ],
)
def test_filters(zoo: Registry, filters: dict[str, Any], found: list[str]) -> None:
    """Every filter must hold; a broken model, of which nothing is known, passes none on its spec."""
    assert ids(zoo, **filters) == found


def test_registry_is_a_collection(zoo: Registry) -> None:
    """It has a length, knows its members by id and name, iterates over entries and shows where they come from."""
    assert len(zoo) == 7
    assert "segnet" in zoo
    assert "zeta/unique" in zoo
    assert "lite" in zoo, "an ambiguous name is a name that exists"
    assert "zzz" not in zoo
    assert 3 not in zoo
    assert next(iter(zoo)).id == "segzoo/segnet"
    assert repr(zoo) == "<Registry of 7 models from acme-seg, segzoo, zeta>"
    assert repr(Registry()) == "<Registry of 0 models from nowhere>"
    assert repr(zoo.resolve("unique")) == "Entry('zeta/unique', target='acme:UNIQUE')"


def test_adding_twice_is_refused(zoo: Registry) -> None:
    """Nothing is ever overwritten silently."""
    with pytest.raises(UsageFault, match="'zeta/unique' is registered already"):
        zoo.add(entry("unique", "zeta"))
