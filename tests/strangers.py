"""A stranger's agents and runs, and the modules that they ask for, which leave a mark where they are imported."""

from __future__ import annotations

from pathlib import Path

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


def write_agent(folder: Path, asked_for: str) -> Path:
    """An untrained agent of tic-tac-toe, whose card asks for this game."""
    folder.mkdir(parents=True, exist_ok=True)
    game, config = TicTacToe(), make_config({"game": asked_for, "network": NETWORK}, source="test")
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
