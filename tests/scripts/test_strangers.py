"""No script imports the game or the network that a stranger's agent or run asks for, unless the user names it."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from alphazero.runs.mirror import Mirror
from tests.commands import Finished, call
from tests.strangers import write_agent, write_network, write_payload, write_run, write_run_of
from tests.training_runs import SMALL, write

GAME = "strangers_game:Payload"
QUICK = ("--against", "random", "--games", 2, "--simulations", 2, "--curve", 0)

Script = Callable[..., Finished]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Script:
    """`script(name, *arguments)`. The stranger's module can be imported; nothing is trusted; the input is `quit`."""
    write_payload(tmp_path / "path" / "strangers_game.py", tmp_path / "mark")
    monkeypatch.syspath_prepend(tmp_path / "path")
    monkeypatch.delitem(sys.modules, "strangers_game", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "300")

    def run(name: str, *arguments: object) -> Finished:
        monkeypatch.setattr(sys, "stdin", io.StringIO("quit\n"))
        return call(import_module(f"scripts.{name}").main, *arguments, monkeypatch=monkeypatch, capsys=capsys)

    return run


@pytest.fixture
def friend(tmp_path: Path) -> Path:
    """A stranger's run, with the agent and with code beside it."""
    run = write_run(tmp_path / "friend", GAME)
    write_agent(run, GAME)
    write_payload(run / "payload.py", tmp_path / "mark")
    return run


ASKING = {
    "play RUN": ("play", "FRIEND"),
    "play AGENT": ("play", "FRIEND/agent.onnx"),
    "play CHECKPOINT": ("play", "FRIEND/checkpoints/000001"),
    "play, against it": ("play", "OWN", "--second", "FRIEND/agent.onnx"),
    "play, before it": ("play", "OWN", "--first", "FRIEND"),
    "benchmark RUN": ("benchmark", "FRIEND", *QUICK),
    "benchmark AGENT": ("benchmark", "FRIEND/agent.onnx", *QUICK),
    "benchmark, against it": ("benchmark", "OWN", *QUICK, "--against", "random,FRIEND/agent.onnx"),
    "benchmark, against it with a budget": ("benchmark", "OWN", *QUICK, "--against", "FRIEND@8"),
    "benchmark, a tournament": ("benchmark", "OWN", *QUICK, "--tournament", "FRIEND"),
    "report": ("report", "FRIEND", "--text"),
    "report of a game": ("report", "FRIEND", "--text", "--game-iteration", 0),
    "aim": ("aim", "--agent", "FRIEND/agent.onnx"),
    "resume": ("train", "--resume", "FRIEND", "--iterations", 2),
    "resume URL": ("train", "--resume", "file://URL", "--run", "COPY", "--iterations", 2),
    "its configuration": ("train", "FRIEND/config.toml", "--iterations", 1, "--run", "NEW"),
}


@pytest.mark.parametrize("case", ASKING)
def test_no_script_imports_what_a_file_asks_for(case: str, script: Script, friend: Path, tmp_path: Path) -> None:
    places = {"FRIEND": friend, "OWN": tmp_path / "own" / "agent.onnx", "URL": tmp_path / "url"}
    places |= {"COPY": tmp_path / "copy", "NEW": tmp_path / "new"}
    write_agent(tmp_path / "own", "games.tic_tac_toe:TicTacToe")
    if "URL" in case:
        mirror = Mirror(friend, f"file://{tmp_path / 'url'}", say=pytest.fail)
        mirror.update()
        assert mirror.wait(30)
    name, *arguments = ASKING[case]
    for place, path in places.items():
        arguments = [str(argument).replace(place, str(path)) for argument in arguments]
    finished = script(name, *arguments)
    assert finished.returncode == 1, finished
    file = "agent.json" if "agent.onnx" in " ".join(arguments[-2:]) or "AGENT" in case else "config.toml"
    asking = (tmp_path / "copy" if "URL" in case else friend) / file
    assert finished.stderr.startswith(f"error: {asking} asks for the game {GAME}, ")
    assert f"--game {GAME}" in finished.stderr
    assert (f"--resume {tmp_path / 'copy'}" in finished.stderr) == ("URL" in case)
    assert finished.stderr.count("\n") == 1
    assert not (tmp_path / "mark").exists()
    assert not (tmp_path / "state").exists()
    assert not (tmp_path / "new").exists()


NETWORK = "strangers_network:Net"


@pytest.fixture
def network_friend(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stranger's run of tic-tac-toe with a network of their own, which could be imported."""
    write_network(tmp_path / "path" / "strangers_network.py", tmp_path / "mark")
    monkeypatch.delitem(sys.modules, "strangers_network", raising=False)
    monkeypatch.setattr("alphazero.network.loading._loaded", set())
    return write_run_of(tmp_path / "friend", NETWORK)


ASKING_FOR_A_NETWORK = {
    "play RUN": ("play", "FRIEND"),
    "play CHECKPOINT": ("play", "FRIEND/checkpoints/000001"),
    "play, against it": ("play", "FRIEND/agent.onnx", "--second", "FRIEND"),
    "benchmark RUN": ("benchmark", "FRIEND", *QUICK),
    "benchmark, against it": ("benchmark", "FRIEND/agent.onnx", *QUICK, "--against", "random,FRIEND"),
    "report": ("report", "FRIEND", "--text"),
    "resume": ("train", "--resume", "FRIEND", "--iterations", 2),
    "its configuration": ("train", "FRIEND/config.toml", "--iterations", 1, "--run", "NEW"),
}


@pytest.mark.parametrize("case", ASKING_FOR_A_NETWORK)
def test_no_script_imports_the_network_that_a_file_asks_for(
    case: str, script: Script, network_friend: Path, tmp_path: Path
) -> None:
    name, *arguments = ASKING_FOR_A_NETWORK[case]
    places = {"FRIEND": network_friend, "NEW": tmp_path / "new"}
    for place, path in places.items():
        arguments = [str(argument).replace(place, str(path)) for argument in arguments]
    finished = script(name, *arguments)
    assert finished.returncode == 1, finished
    asking = network_friend / "config.toml"
    assert finished.stderr.startswith(f"error: {asking} asks for the network {NETWORK}, ")
    assert f"--network.kind {NETWORK}" in finished.stderr
    assert (f"or play {network_friend}/agent.onnx, which needs no code" in finished.stderr) == (
        name in ("play", "benchmark")
    )
    assert finished.stderr.count("\n") == 1
    for place in ("mark", "state", "new"):
        assert not (tmp_path / place).exists()


def test_an_exported_agent_plays_without_the_code_of_its_network(
    script: Script, network_friend: Path, tmp_path: Path
) -> None:
    agent = network_friend / "agent.onnx"
    for name, *arguments in (("play", agent), ("play", agent, "--explore"), ("benchmark", agent, *QUICK)):
        finished = script(name, *arguments)
        assert finished.returncode == 0, finished.stderr
    assert not (tmp_path / "mark").exists()


def test_a_network_of_somebody_s_own_is_named_once(script: Script, network_friend: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(network_friend, moved)
    small = ("--iterations", 2, "--evaluation.opponents", "[]")
    for folder, named, others in (
        (network_friend, ("train", "--resume", network_friend, *small), ("report", network_friend, "--text")),
        (moved, ("report", moved, "--text"), ("play", moved)),
    ):
        finished = script(*named, "--network.kind", NETWORK)
        assert finished.returncode == 0, finished.stderr
        assert (tmp_path / "mark").exists()
        known = json.loads((tmp_path / "state" / "alphazero" / "networks.json").read_bytes())
        assert known[str(folder)] == NETWORK
        finished = script(*others)
        assert finished.returncode == 0, finished.stderr


def test_a_run_of_a_network_of_ones_own_is_trusted_where_it_was_made(
    script: Script, network_friend: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(SMALL, iterations=1, evaluation=replace(SMALL.evaluation, every=0, opponents=()))
    run = tmp_path / "run"
    options = ("--network.kind", NETWORK, "--network.options.width", 5)
    trained = script("train", write(tmp_path, small), "--run", run, *options)
    assert trained.returncode == 0, trained.stderr
    monkeypatch.setattr("alphazero.network.loading._loaded", set())  # as in a new process
    for name, *arguments in (("play", run), ("report", run, "--text"), ("train", "--resume", run, "--iterations", 2)):
        finished = script(name, *arguments)
        assert finished.returncode == 0, (name, finished.stderr)
        assert (f"`{NETWORK}` (width = 5), " in finished.stdout) == (name == "report")


def test_a_network_in_a_run_is_not_imported_whoever_names_it(
    script: Script, network_friend: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_network(network_friend / "hidden.py", tmp_path / "mark")
    monkeypatch.syspath_prepend(tmp_path)
    config = network_friend / "config.toml"
    config.write_text(config.read_text().replace(NETWORK, "friend.hidden:Net"))
    for name, *arguments in (("play", network_friend), ("train", "--resume", network_friend)):
        finished = script(name, *arguments, "--network.kind", "friend.hidden:Net")
        assert finished.returncode == 1, finished
        assert f"friend lies in {network_friend}, the folder of a run or an agent" in finished.stderr
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("play", ("FRIEND/agent.onnx",)),
        ("benchmark", ("FRIEND", *QUICK)),
        ("report", ("FRIEND",)),
        ("train", ("--resume", "FRIEND")),
        ("train", ("FRIEND/config.toml",)),
        ("check", ("friend.payload:Payload",)),
    ],
)
def test_code_in_a_run_is_not_imported_whoever_names_it(
    name: str,
    arguments: tuple[object, ...],
    script: Script,
    friend: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    words = [str(argument).replace("FRIEND", str(friend)) for argument in arguments]
    for asked_for in ("friend.payload:Payload", GAME):
        for file in ("config.toml", "agent.json"):
            (friend / file).write_text((friend / file).read_text().replace(GAME, asked_for))
        game = () if name == "check" else ("--game", "friend.payload:Payload")
        finished = script(name, *words, *game)
        assert finished.returncode == 2, finished
        assert f"friend lies in {friend}, the folder of a run or an agent" in finished.stderr
        assert "Traceback" not in finished.stderr
    assert not (tmp_path / "mark").exists()
    assert not (tmp_path / "state").exists()


def test_a_game_of_the_user_s_own_is_named_once_and_after_that_only_where_the_run_is_moved(
    script: Script, tmp_path: Path
) -> None:
    small = replace(SMALL, iterations=1, evaluation=replace(SMALL.evaluation, every=0, opponents=()))
    config, run = write(tmp_path, replace(small, game=GAME)), tmp_path / "run"
    trained = script("train", config, "--run", run)
    assert (trained.returncode, (tmp_path / "mark").exists()) == (0, True), trained.stderr
    quick = (*QUICK, "--against", f"{run}/agent.onnx")
    commands = (
        ("play", run),
        ("play", run / "agent.onnx", "--second", run),
        ("benchmark", run, *quick),
        ("report", run, "--text"),
        ("train", "--resume", run, "--iterations", 2),
        ("train", run / "config.toml", "--run", tmp_path / "again", "--iterations", 1),
    )
    for name, *arguments in commands:
        finished = script(name, *arguments)
        assert finished.returncode == 0, (name, arguments, finished.stderr)
    moved = shutil.move(run, tmp_path / "moved")
    refused = script("report", moved, "--text")
    assert (refused.returncode, f"--game {GAME}" in refused.stderr) == (1, True)
    for words in (("--game", GAME), ()):
        finished = script("report", moved, "--text", *words)
        assert finished.returncode == 0, finished.stderr
    borrowed = script("train", write(tmp_path, small), "--run", tmp_path / "borrowed", "--game", GAME)
    assert borrowed.returncode == 0, borrowed.stderr
    resumed = script("train", "--resume", tmp_path / "borrowed", "--iterations", 2)
    assert resumed.returncode == 0, resumed.stderr
