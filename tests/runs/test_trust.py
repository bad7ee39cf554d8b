"""A file gets no code imported but that of a registered game, or of one that the user named for its folder."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from alphazero.runs.agents import load_agent
from alphazero.runs.checkpoint import checkpoints
from alphazero.runs.files import RunError
from alphazero.runs.trust import check, load_game_of, trust
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.small_checkpoints import CONFIG
from tests.strangers import write_agent, write_payload, write_run
from tests.training_runs import SMALL, open_small

GAME = "own_game:Payload"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of what the user trusts: nothing yet. The game's module can be imported, and says if it was."""
    write_payload(tmp_path / "path" / "own_game.py", tmp_path / "mark")
    monkeypatch.syspath_prepend(tmp_path / "path")
    monkeypatch.delitem(sys.modules, "own_game", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "alphazero" / "games.json"


def agent_of_card(folder: Path) -> Path:
    return write_agent(folder, GAME)


def agent_of_run(folder: Path) -> Path:
    return write_run(folder, GAME)


def agent_of_checkpoint(folder: Path) -> Path:
    return checkpoints(write_run(folder, GAME))[-1]


@pytest.mark.parametrize("make", [agent_of_card, agent_of_run, agent_of_checkpoint])
def test_an_agent_gets_no_code_imported_until_the_user_names_it_and_then_for_its_folder(
    make: Callable[[Path], Path], tmp_path: Path, state: Path
) -> None:
    path = make(tmp_path / "friend")
    file = tmp_path / "friend" / ("agent.json" if path.suffix == ".onnx" else "config.toml")
    for _ in range(2):
        with pytest.raises(RunError, match=rf"^{file} asks for the game {GAME}, .* say so: --game {GAME}$"):
            load_agent(path)
    assert not (tmp_path / "mark").exists()
    assert not state.exists()
    assert load_agent(path, game=GAME).game.name == "tic_tac_toe"
    assert (tmp_path / "mark").exists()
    assert json.loads(state.read_bytes()) == {str(tmp_path / "friend"): GAME}
    load_agent(path)
    shutil.copytree(tmp_path / "friend", tmp_path / "copy")
    copy = tmp_path / "copy" / path.relative_to(tmp_path / "friend")
    with pytest.raises(RunError, match=f"{tmp_path / 'copy'}.* asks for the game"):
        load_agent(copy)


def test_the_game_that_the_user_names_counts_and_is_kept_only_if_it_is_asked_for(tmp_path: Path, state: Path) -> None:
    path = write_agent(tmp_path / "friend", GAME)
    assert type(load_agent(path, game="games.tic_tac_toe:TicTacToe").game) is TicTacToe
    assert not (tmp_path / "mark").exists()
    with pytest.raises(RunError, match=r"of a game with name 'tic_tac_toe'; games\.connect_four:ConnectFour now has"):
        load_agent(path, game="games.connect_four:ConnectFour")
    for nothing in ("", "nowhere", "nowhere:Game"):
        with pytest.raises(ValueError, match=r"^game"):
            load_agent(path, game=nothing)
    assert not (tmp_path / "mark").exists()
    assert not state.exists()


@pytest.mark.parametrize("asked_for", ["", "x", "x:y:z", "x; rm -rf /:X", "x\n:X", "../x:X", "a" * 10_000 + ":X"])
def test_what_is_no_name_is_said_to_be_none(asked_for: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=rf"^{tmp_path / 'agent.json'}: game .* is no import path; write it as") as error:
        load_game_of(tmp_path / "agent.json", asked_for)
    assert len(str(error.value)) < 500
    assert "\n" not in str(error.value)


def test_registered_games_need_no_word_and_leave_none(tmp_path: Path, state: Path) -> None:
    assert isinstance(load_game_of(tmp_path / "config.toml", "games.connect_four:ConnectFour"), ConnectFour)
    trust(tmp_path, "games.connect_four:ConnectFour")
    assert not state.exists()


def test_installed_modules_are_not_imported_to_find_out_that_they_are_no_game(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alphazero.runs.trust.load_game", pytest.fail)
    for asked_for in ("antigravity:Game", "games.tic_tac_toe:Other", "games.connect_four:ConnectFour2", GAME):
        with pytest.raises(RunError, match="asks for the game"):
            load_game_of(tmp_path / "agent.json", asked_for)


# --- What is kept


def test_it_is_kept_as_a_whole_for_the_user_s_eyes_and_beside_what_was_kept(tmp_path: Path, state: Path) -> None:
    before = os.umask(0)
    try:
        trust(tmp_path / "one", GAME)
        trust(tmp_path / "two", "other:Game")
    finally:
        os.umask(before)
    assert state.stat().st_mode & 0o777 == 0o600
    assert state.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(state.parent) == ["games.json"]
    check(tmp_path / "one" / "config.toml", GAME)
    check(tmp_path / "two" / "config.toml", "other:Game")
    for folder, game in (("one", "other:Game"), ("two", GAME), ("three", GAME), ("one/within", GAME)):
        with pytest.raises(RunError):
            check(tmp_path / folder / "config.toml", game)


def test_a_folder_is_the_same_by_any_of_its_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "link").symlink_to("one")
    monkeypatch.chdir(tmp_path)
    trust(Path("one"), GAME)
    for path in (tmp_path / "one", Path("one"), Path("link"), tmp_path / "path" / ".." / "one"):
        check(path / "config.toml", GAME)


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', "[" * 100_000, "\udcff"])
def test_what_cannot_be_read_trusts_nothing_and_is_written_anew(content: str, tmp_path: Path, state: Path) -> None:
    state.parent.mkdir(parents=True)
    state.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(RunError):
        check(tmp_path / "config.toml", GAME)
    trust(tmp_path, GAME)
    check(tmp_path / "config.toml", GAME)


def test_a_relative_state_folder_is_no_place_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a stranger's folder in which the user works would speak for itself."""
    (tmp_path / "alphazero").mkdir()
    (tmp_path / "alphazero" / "games.json").write_text(json.dumps({str(tmp_path): GAME}))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for relative in (".", ""):
        monkeypatch.setenv("XDG_STATE_HOME", relative)
        with pytest.raises(RunError):
            check(tmp_path / "config.toml", GAME)
    trust(tmp_path, GAME)
    assert (tmp_path / "home" / ".local" / "state" / "alphazero" / "games.json").is_file()


def test_where_it_cannot_be_kept_the_user_is_told_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a file"))
    path = write_agent(tmp_path / "friend", GAME)
    with caplog.at_level(logging.WARNING):
        load_agent(path, game=GAME)
    assert f"cannot keep that {tmp_path / 'friend'} may use {GAME}" in caplog.text
    assert f"--game {GAME}" in caplog.text
    with pytest.raises(RunError):
        load_agent(path)


# --- Runs


def test_a_run_of_the_user_s_own_game_is_trusted_and_one_that_is_copied_is_not(tmp_path: Path, state: Path) -> None:
    own = load_game_of(tmp_path / "x" / "config.toml", GAME, named=GAME)
    config = replace(SMALL, game=GAME)
    with open_small(config, tmp_path / "run", game=own):
        pass
    check(tmp_path / "run" / "config.toml", GAME)
    with pytest.raises(RunError):
        check(tmp_path / "elsewhere" / "config.toml", GAME)


def test_a_run_trusts_only_the_game_that_it_was_given(tmp_path: Path, state: Path) -> None:
    """The configuration may be a stranger's, while the caller gives a game of their own."""
    config = replace(SMALL, game=GAME)
    with open_small(config, tmp_path / "run"):  # gives tic-tac-toe
        pass
    assert not state.exists()
    write_run(tmp_path / "friend", GAME)
    resumed = open_small(replace(CONFIG, game=GAME), tmp_path / "friend", resume=True)
    with pytest.raises(RunError, match="asks for the game"), resumed:
        pass
    assert not (tmp_path / "mark").exists()


def test_what_is_trusted_is_the_code_whatever_arguments_it_gets(tmp_path: Path, state: Path) -> None:
    card = tmp_path / "agent.json"
    check(card, "games.tic_tac_toe:TicTacToe()")
    with pytest.raises(RunError, match=rf"say so: --game '{GAME}\(2\)'$"):
        check(card, f"{GAME}(2)")
    trust(tmp_path, f"{GAME}(1)")
    assert json.loads(state.read_text()) == {str(tmp_path.resolve()): GAME}
    check(card, f"{GAME}(2)")
    assert not (tmp_path / "mark").exists()
