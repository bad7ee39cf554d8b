"""Games by their import path: what is said of paths that lead to none, which are registered, what is never imported."""

from __future__ import annotations

import inspect
import os
import pkgutil
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import games
from alphazero.game import Game, PythonGame, load_game, loading
from alphazero.game.loading import is_loaded_as, parse_path, registered_games, run_around
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.game.coins import Pile
from tests.strangers import write_payload
from tests.training_runs import ROOT

SHIPPED = {
    *("games.connect_four:ConnectFour", "games.tic_tac_toe:TicTacToe", "games.othello:Othello", "games.hex:Hex"),
    *("games.breakthrough:Breakthrough", "games.trebuchet.game:Aiming", "games.trebuchet.game:Siege"),
    *("games.gymnasium:Gymnasium", "games.open_spiel:OpenSpiel", "games.pettingzoo:PettingZoo"),
    "games.template:NewGame",
}
NAMED = {"games.gymnasium:Gymnasium", "games.open_spiel:OpenSpiel", "games.pettingzoo:PettingZoo"}  # by arguments
OLD = {"examples.othello:Othello"}  # still read, for one version


def test_load_game() -> None:
    assert isinstance(load_game("games.connect_four:ConnectFour"), ConnectFour)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("connect_four", "'connect_four' is no import path; write it as package.module:Class"),
        ("", "'' is no import path"),
        (".games.connect_four:ConnectFour", "is no import path"),
        ("games/connect_four:ConnectFour", "is no import path"),
        ("games.connect_four:Connect Four", "is no import path"),
        ("games.connect_fuor:ConnectFour", "cannot import 'games.connect_fuor'"),
        ("games.connect_four:ConnectFive", "has no 'ConnectFive'; it offers ConnectFour"),
        ("alphazero:Nothing", "has no 'Nothing'; it offers no game"),
        (
            "games.connect_four:ConnectFourState",
            "ConnectFourState is not a subclass of alphazero.game.Game or PythonGame",
        ),
        ("games.connect_four:COLUMNS", "COLUMNS is not a subclass of alphazero.game.Game or PythonGame"),
        ("games.connect_four:ConnectFour(", "the arguments of a game must be plain values"),
        ("games.connect_four:ConnectFour(exit())", "the arguments of a game must be plain values"),
        ("games.connect_four:ConnectFour(**{'x': 1})", "an argument without a name"),
        ("games.connect_four:ConnectFour()()", "more than a class and its arguments"),
        ("games.connect_four:ConnectFour(1).initial", "more than a class and its arguments"),
        ("games.connect_four:ConnectFour(side=8)", "making a ConnectFour failed: TypeError"),
        ("alphazero.game:Game", "Game lacks initial, legal, observe, step, to_play"),
    ],
)
def test_load_game_says_what_is_wrong(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_game(path)


def test_arguments_reach_the_game() -> None:
    def made(arguments: str) -> dict[str, object]:
        return vars(load_game(f"tests.game.coins:Pile{arguments}"))

    assert made("(7)") == made("( coins = 7 )") == {"coins": 7, "name": "pile"}
    assert made('(7, name="(a:b, c)")') == {"coins": 7, "name": "(a:b, c)"}
    assert made("") == made("()") == {"coins": 5, "name": "pile"}


def test_a_long_name_is_quoted_in_a_line() -> None:
    with pytest.raises(ValueError, match="is no import path") as refused:
        load_game("x" * 1_000_000 + ":X")
    assert len(str(refused.value)) < 400


# --- Registered


def test_all_games_of_the_project_are_registered() -> None:
    """Those of the configurations and the agent that come with it, and every class in games/."""
    named = (tomllib.loads(path.read_text())["game"] for path in ROOT.glob("configs/*.toml"))
    found = {parse_path(path).code for path in named}
    for module in pkgutil.walk_packages(games.__path__, "games."):
        for name, value in inspect.getmembers(import_module(module.name), inspect.isclass):
            if issubclass(value, (Game, PythonGame)) and value.__module__ == module.name:
                found.add(f"{module.name}:{name}")
    assert found == SHIPPED
    assert found <= registered_games()
    for path in SHIPPED - NAMED:
        load_game(path)


def test_an_install_that_is_older_than_the_registered_games_finds_them_and_a_newer_one_needs_no_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loading, "entry_points", lambda group: [])
    assert registered_games() == SHIPPED | OLD
    monkeypatch.setattr(loading, "ROOT", tmp_path)  # as in site-packages: there is no pyproject.toml beside the package
    assert registered_games() == set()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\nentry-points."alphazero.games" = {x = "a:B"}')
    assert registered_games() == set()
    entry = EntryPoint("mine", "my_games.nim:Nim", "alphazero.games")
    monkeypatch.setattr(loading, "entry_points", lambda group: [entry] if group == "alphazero.games" else [])
    assert registered_games() == {"my_games.nim:Nim"}


def test_installed_packages_register_their_games_but_none_that_lies_in_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, value in (("installed", "good:Game"), ("run", "evil:Game")):
        metadata = tmp_path / folder / f"{folder}-1.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Name: {folder}\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text(f"[alphazero.games]\nx = {value}\n")
        monkeypatch.syspath_prepend(tmp_path / folder)
    (tmp_path / "run" / "agent.json").touch()
    assert {"good:Game"} <= registered_games()
    assert "evil:Game" not in registered_games()


def test_a_loaded_class_is_known_by_its_name_without_any_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_payload(tmp_path / "unheard_of.py", tmp_path / "mark")
    monkeypatch.syspath_prepend(tmp_path)
    assert is_loaded_as("games.tic_tac_toe:TicTacToe", TicTacToe())
    assert not is_loaded_as("games.tic_tac_toe:TicTacToe", ConnectFour())
    assert not is_loaded_as("unheard_of:Payload", TicTacToe())
    assert not is_loaded_as("", TicTacToe())
    assert is_loaded_as("tests.game.coins:Pile(name='few')", Pile(3, name="few"))
    assert not is_loaded_as("tests.game.coins:Pile(name='few')", Pile(3, name="many"))
    assert not (tmp_path / "mark").exists()


# --- Nothing from a run


def make_run(folder: Path) -> None:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.toml").touch()


def make_agent(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "agent.json").touch()


@pytest.mark.parametrize("make", [make_run, make_agent])
@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("payload.py", "store.friend.payload"),  # the store's folder is on the path
        ("payload/__init__.py", "store.friend.payload"),
        ("games/payload.py", "store.friend.games.payload"),
        ("__init__.py", "store.friend"),
        ("payload/inner.py", "payload.inner"),  # the run's own folder is, as for `python` that is started in it
        ("payload.py", "payload"),
    ],
)
def test_nothing_is_imported_from_a_run(
    file: str, module: str, make: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store" / "friend"
    (make_run if make is make_run else make_agent)(folder)
    write_payload(folder / file, tmp_path / "mark")
    monkeypatch.syspath_prepend(tmp_path if module.startswith("store") else folder)
    before = set(sys.modules)
    with pytest.raises(ValueError, match=f"{folder}, the folder of a run or an agent"):
        load_game(f"{module}:Payload")
    assert not (tmp_path / "mark").exists()
    for name in set(sys.modules) - before:
        monkeypatch.delitem(sys.modules, name)


def test_the_same_module_elsewhere_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_payload(tmp_path / "store2" / "friend" / "payload.py", tmp_path / "mark")
    (tmp_path / "store2" / "friend" / "checkpoints").mkdir()  # alone it makes no run
    monkeypatch.syspath_prepend(tmp_path)
    load_game("store2.friend.payload:Payload")
    assert (tmp_path / "mark").exists()


def test_links_hide_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_agent(tmp_path / "friend")
    write_payload(tmp_path / "friend" / "payload.py", tmp_path / "mark")
    write_payload(tmp_path / "plain.py", tmp_path / "mark")
    (tmp_path / "linked_file.py").symlink_to(tmp_path / "friend" / "payload.py")
    (tmp_path / "linked_folder").symlink_to(tmp_path / "friend")
    (tmp_path / "friend" / "outward.py").symlink_to(tmp_path / "plain.py")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("linked_file", "linked_folder.payload", "friend.outward"):
        with pytest.raises(ValueError, match="the folder of a run or an agent"):
            load_game(f"{module}:Payload")
    assert not (tmp_path / "mark").exists()


def test_what_a_game_imports_does_not_come_from_a_run_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_agent(tmp_path / "friend")
    write_payload(tmp_path / "friend" / "hidden_helper.py", tmp_path / "mark")
    (tmp_path / "my_own_game.py").write_text("from hidden_helper import Payload")
    monkeypatch.syspath_prepend(tmp_path / "friend")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="hidden_helper lies in"):
        load_game("my_own_game:Payload")
    assert not (tmp_path / "mark").exists()


def test_python_that_is_started_in_a_run_s_folder_takes_the_shipped_games_from_nowhere_else(tmp_path: Path) -> None:
    """A run has a folder `games`, and Python looks for modules where it is started."""
    make_run(tmp_path)
    for file in ("games/__init__.py", "games/tic_tac_toe.py"):
        write_payload(tmp_path / file, tmp_path / "mark")
    code = f"""
import sys
sys.path[1:1] = [{str(ROOT)!r}]
import alphazero.game as game
try:
    game.load_game("games.tic_tac_toe:TicTacToe")
except ValueError as error:
    print(error)
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "games lies in" in done.stdout
    assert not (tmp_path / "mark").exists()


def test_a_folder_with_the_engine_or_python_in_it_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "run")
    assert run_around(tmp_path / "run" / "games" / "x.py") == tmp_path / "run"
    assert run_around(tmp_path / "run") == tmp_path / "run"
    assert run_around(tmp_path) is None
    with monkeypatch.context() as patch:
        patch.setattr(loading, "ROOT", tmp_path / "run" / "alphazero")
        assert run_around(tmp_path / "run" / "x.py") is None
    with monkeypatch.context() as patch:
        patch.setattr(sys, "prefix", str(tmp_path / "run" / ".venv"))
        assert run_around(tmp_path / "run" / "x.py") is None


def test_importing_is_as_before_afterwards() -> None:
    finders = list(sys.meta_path)
    load_game("games.tic_tac_toe:TicTacToe")
    with pytest.raises(ValueError, match="cannot import"):
        load_game("nowhere:Game")
    assert sys.meta_path == finders
