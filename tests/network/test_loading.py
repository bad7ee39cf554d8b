"""Networks of one's own by their import path: found, made with their options, and what is said where that fails."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from alphazero.game import loading
from alphazero.network.loading import is_loaded, load_network_class, make_module, registered_networks
from tests import own_networks
from tests.strangers import write_network

HERE = "tests.own_networks"


def test_a_class_is_found_by_its_import_path() -> None:
    assert load_network_class(f"{HERE}:Plain") is own_networks.Plain


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("residual", "network 'residual' is no import path; write it as package.module:Class"),
        (f"{HERE}:Plain", ""),
        (f"{HERE}:Plane", f"{HERE} has no 'Plane'; it offers Plain, Foreseeing, "),
        (f"{HERE}:NoModule", "NoModule is not a subclass of torch.nn.Module"),
        (f"{HERE}:Answer", "Answer is not a subclass of torch.nn.Module"),
        (
            "tests.own_netwarks:Plain",
            r"network 'tests.own_netwarks:Plain': cannot import 'tests.own_netwarks' \(Module",
        ),
        ("alphazero:Nothing", "has no 'Nothing'; it offers no network"),
    ],
)
def test_what_is_wrong_with_a_name_is_said(path: str, message: str) -> None:
    if not message:
        load_network_class(path)
        return
    with pytest.raises(ValueError, match=message) as refused:
        load_network_class(path)
    assert "\n" not in str(refused.value)


def test_it_is_made_for_the_game_with_its_options() -> None:
    def made(options: dict[str, Any]) -> tuple[Any, ...]:
        module = make_module(f"{HERE}:Plain", options, (2, 3, 3), 9, 3)
        assert isinstance(module, own_networks.Plain)
        return module.made

    assert made({}) == ((2, 3, 3), 9, 3, 8, 0.0)
    assert made({"width": 4, "slope": 0.5}) == ((2, 3, 3), 9, 3, 4, 0.5)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("Plain", {"widht": 4}, "`network.options.widht`: Plain has no such option; did you mean `width`?"),
        ("Plain", {"x": 4}, "`network.options.x`: Plain has no such option; it has width, slope"),
        ("Nameless", {"x": 4}, "`network.options.x`: Nameless has no such option; it has none"),
        ("Plain", {"actions": 4}, "`network.options.actions`: Plain has no such option"),
        ("Demanding", {}, "`network.options.depth` is missing: a Demanding cannot be made without it"),
        ("Keyless", {}, r"Keyless must be made as Keyless\(observation_shape, actions, outcomes, \*\*options\)"),
        ("Failing", {"width": 4}, r"Failing\": making a Failing failed \(RuntimeError: no such luck\)"),
        ("Plain", {"width": "four"}, r"Plain\": making a Plain failed \(TypeError: "),
        ("Foreseeing", {"x": 4}, r"making a Foreseeing failed \(TypeError: .* unexpected keyword argument 'x'\)"),
    ],
)
def test_an_option_that_the_class_does_not_take_is_named(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        make_module(f"{HERE}:{kind}", options, (2, 3, 3), 9, 3)
    assert "\n" not in str(refused.value)


def test_what_a_network_does_with_its_options_stays_with_it() -> None:
    options = {"sizes": [1, 2]}
    make_module(f"{HERE}:Emptying", options, (2, 3, 3), 9, 3)
    assert options == {"sizes": [1, 2]}


def test_packages_register_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert registered_networks() == {"examples.transformer:BoardTransformer"}
    for path in registered_networks():
        assert issubclass(load_network_class(path), nn.Module)
    entry = EntryPoint("mine", "my_nets:Net", "alphazero.networks")
    monkeypatch.setattr(loading, "ROOT", tmp_path)
    monkeypatch.setattr(loading, "entry_points", lambda group: [entry] if group == "alphazero.networks" else [])
    assert registered_networks() == {"my_nets:Net"}


def test_nothing_is_imported_from_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.toml").touch()
    write_network(tmp_path / "run" / "run_network.py", tmp_path / "mark")
    write_network(tmp_path / "my_network.py", tmp_path / "mark")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "run")
    monkeypatch.delitem(sys.modules, "my_network", raising=False)
    monkeypatch.setattr("alphazero.network.loading._loaded", set())
    with pytest.raises(ValueError, match=r"run_network lies in .*, the folder of a run or an agent"):
        load_network_class("run_network:Net")
    assert not (tmp_path / "mark").exists()
    assert not is_loaded("my_network:Net")
    load_network_class("my_network:Net")
    assert (tmp_path / "mark").exists()
    assert is_loaded("my_network:Net")
