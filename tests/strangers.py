"""A stranger's agents and runs, and the modules that they ask for, which leave a mark where they are imported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from alphazero.network.architectures import inference_module, make_network, to_onnx
from alphazero.runs.agents import export_agent
from alphazero.runs.checkpoint import create_run
from alphazero.runs.configuration import make_config
from games.tic_tac_toe import TicTacToe
from tests.small_checkpoints import CONFIG, parts, save

PAYLOAD = """
from pathlib import Path
from games.tic_tac_toe import TicTacToe

Path({mark!r}).touch()


class Payload(TicTacToe):
    pass
"""


def write_payload(path: Path, mark: Path) -> None:
    """A module with the game `Payload`, which is tic-tac-toe; importing it makes the file `mark`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PAYLOAD.format(mark=str(mark)))


PAYLOAD_NETWORK = """
from pathlib import Path
from tests.own_networks import Plain

Path({mark!r}).touch()


class Net(Plain):
    pass
"""


def write_network(path: Path, mark: Path) -> None:
    """A module with the network `Net`; importing it makes the file `mark`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PAYLOAD_NETWORK.format(mark=str(mark)))


def write_agent_of(folder: Path, network: str) -> Path:
    """An untrained agent of tic-tac-toe, whose card asks for this network; it is that of `own_networks.Plain`."""
    path = write_agent(folder, "games.tic_tac_toe:TicTacToe", {"kind": "tests.own_networks:Plain"})
    card = path.with_suffix(".json")
    card.write_text(card.read_text().replace("tests.own_networks:Plain", network))
    return path


def write_run_of(folder: Path, network: str) -> Path:
    """A run of tic-tac-toe with one checkpoint and its agent, which asks for this network, that of `Plain`."""
    config = replace(CONFIG, network=replace(CONFIG.network, kind="tests.own_networks:Plain"))
    create_run(folder, config)
    save(folder, parts(config=config, iterations=1), 1)
    write_agent_of(folder, network)
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace("tests.own_networks:Plain", network))
    return folder


def write_agent(folder: Path, asked_for: str, network: dict[str, Any] | None = None) -> Path:
    """An untrained agent of tic-tac-toe, whose card asks for this game."""
    folder.mkdir(parents=True, exist_ok=True)
    game, config = TicTacToe(), make_config({"game": asked_for, "network": network or NETWORK}, source="test")
    module = inference_module(make_network(game, config.network))
    export_agent(folder, game, config, to_onnx(module, game.observation_shape), iteration=0)
    return folder / "agent.onnx"


NETWORK = {"kind": "dense", "blocks": 1, "width": 8}


def write_run(folder: Path, asked_for: str) -> Path:
    """A run of tic-tac-toe with one checkpoint, whose configuration asks for this game."""
    create_run(folder, CONFIG)
    save(folder, parts(iterations=1), 1)
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace(CONFIG.game, asked_for))
    return folder
