"""scripts/new.py writes a game that runs, and hides nothing and overwrites nothing. tests/test_install.py trains it."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path

import pytest
import torch

from alphazero.game import as_game, check_game
from alphazero.runs.configuration import make_config
from games.template import NewGame
from games.tic_tac_toe import TicTacToe
from scripts.new import main
from tests.commands import Command


def test_the_files_are_complete_and_bear_the_name(command: Command, tmp_path: Path) -> None:
    done = command(main, "four_squares", "--folder", tmp_path / "new")
    assert (done.returncode, done.stderr) == (0, "")
    files = {path.name: path.read_text() for path in (tmp_path / "new").iterdir()}
    assert sorted(files) == ["four_squares.py", "four_squares.toml", "test_four_squares.py"]
    assert not any("NewGame" in text or "new_game" in text for text in files.values())
    assert make_config(tomllib.loads(files["four_squares.toml"]), source="new").game == "four_squares:FourSquares"
    rules = runpy.run_path(str(tmp_path / "new" / "four_squares.py"))["FourSquares"]()
    assert rules.name == "four_squares"
    check_game(rules, games=4)
    assert "four_squares:FourSquares" in done.stdout


def test_the_template_is_tic_tac_toe() -> None:
    game, ours, generator = as_game(NewGame()), TicTacToe(), torch.Generator().manual_seed(0)
    now, expected = game.initial(200), ours.initial(200)
    while not bool(expected.done.all()):
        action = ours.actions.random(ours.legal(expected), generator)
        now, *outcome = game.step(now, action)
        expected, *expected_outcome = ours.step(expected, action)
        assert all(map(torch.equal, outcome, expected_outcome))
        assert torch.equal(game.observe(now), ours.observe(expected))
    assert game.render(game.initial(1)) == ours.render(ours.initial(1))
    assert [game.action_name(action) for action in range(9)] == [ours.action_name(action) for action in range(9)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my game", "'my game' is no name of a module; small letters, digits and underscores make one: my_game"),
        ("class", "'class' is no name of a module"),
        ("MyGame", "'MyGame' is no name of a module"),
        ("random", "a module 'random' is there already, which the new one would hide"),
        ("torch", "a module 'torch' is there already"),
    ],
)
def test_names_that_would_not_work_are_refused(command: Command, tmp_path: Path, name: str, message: str) -> None:
    done = command(main, name, "--folder", tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(command: Command, tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("mine")
    done = command(main, "mine", "--folder", tmp_path)
    assert (done.returncode, "test_mine.py is there already" in done.stderr) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["test_mine.py"]
