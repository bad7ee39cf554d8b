"""Runs of a few iterations of tic-tac-toe and their checkpoints, which the tests of files share."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from alphazero.config import Config, LearnerConfig, NetworkConfig, ReplayConfig, SearchConfig, SelfPlayConfig
from alphazero.game import Game
from alphazero.learner import Learner
from alphazero.mcts.evaluator import UniformEvaluator
from alphazero.replay import Replay
from alphazero.runs.checkpoint import (
    Progress,
    restore,
    save_checkpoint,
)
from alphazero.selfplay import SelfPlay
from games.tic_tac_toe import TicTacToe

CONFIG = Config(
    game="games.tic_tac_toe:TicTacToe",
    search=SearchConfig(simulations=4),
    network=NetworkConfig(kind="dense", blocks=1, width=8),
    self_play=SelfPlayConfig(streams=2, parallel_games=4, moves=8, max_moves=500, cache=0, opening_moves=2),
    learner=LearnerConfig(batch_size=8, precision="float32"),
)


class Parts(NamedTuple):
    """The parts of a run under way that a checkpoint holds."""

    game: Game
    learner: Learner
    replay: Replay
    streams: list[SelfPlay]


def parts(*, seed: int = 1, iterations: int = 0, config: Config = CONFIG) -> Parts:
    """The parts after some iterations of self-play and learning."""
    game = TicTacToe()
    made = Parts(
        game,
        Learner(game, config.learner, config.network, seed=seed),
        Replay(game, ReplayConfig()),
        [
            SelfPlay(game, config.search, config.self_play, seed=seed, stream=number)
            for number in range(config.self_play.streams)
        ],
    )
    for iteration in range(iterations):
        go_on(made, iteration)
    return made


def go_on(made: Parts, iteration: int) -> None:
    for stream in made.streams:
        made.replay.extend(stream.play(UniformEvaluator(made.game), iteration).samples)
    generator = torch.Generator().manual_seed(iteration)
    made.learner.learn(made.replay.training_set(), made.learner.learning_rates(3, 0.5, 0.5), generator)


def contents(made: Parts) -> dict[str, Any]:
    """Everything as arrays, by name."""
    optimizer = made.learner.optimizer.state_dict()["state"]
    return {
        **{name: tensor.numpy().copy() for name, tensor in made.learner.tensors().items()},
        **{f"{i}.{name}": value.numpy().copy() for i, state in optimizer.items() for name, value in state.items()},
        **{f"replay.{name}": array.copy() for name, array in made.replay.arrays().items()},
        **{f"{i}/{name}": a.copy() for i, s in enumerate(made.streams) for name, a in s.arrays().items()},
    }


def assert_the_same(some: dict[str, Any], other: dict[str, Any]) -> None:
    assert some.keys() == other.keys()
    for name, array in some.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def save(folder: Path, made: Parts, iteration: int) -> Path:
    save_checkpoint(folder, made.game, Progress(iteration, 17, 2.5), made.learner, made.replay, made.streams)
    return folder / "checkpoints" / f"{iteration:06d}"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def sign(path: Path) -> None:
    """Makes all digests of a checkpoint those of the files as they are, as an attacker would."""
    state = json.loads((path / "state.json").read_bytes())
    state["sha256"] = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in state["sha256"]}
    content = {name: value for name, value in state.items() if name != "digest"}
    state["digest"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (path / "state.json").write_text(json.dumps(state))


def resume(folder: Path, made: Parts) -> tuple[Progress, list[str]]:
    """Progress, and the messages."""
    said: list[str] = []
    progress = restore(folder, made.game, made.learner, made.replay, made.streams, say=said.append)
    return progress, said
