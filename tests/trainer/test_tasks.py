"""A worker's tasks: segments go on with the games that they bring along, as one stream in one process does."""

from __future__ import annotations

from dataclasses import replace

import torch

from alphazero.config import Config, NetworkConfig, SearchConfig, SelfPlayConfig
from alphazero.game import named_fields
from alphazero.learner import Learner
from alphazero.network.architectures import inference_module
from alphazero.selfplay import SelfPlay
from alphazero.trainer.tasks import PlaySegment, make_worker
from games.tic_tac_toe import TicTacToe

CONFIG = Config(
    game="games.tic_tac_toe:TicTacToe",
    seed=5,
    search=SearchConfig(simulations=4),
    network=NetworkConfig(kind="dense", blocks=1, width=16),
    self_play=SelfPlayConfig(streams=2, parallel_games=8, moves=4, opening_moves=2, engine="torch"),
)


def test_segments_in_different_processes_are_one_stream() -> None:
    game = TicTacToe()
    weights = inference_module(Learner(game, CONFIG.learner, CONFIG.network, seed=0).network)
    counted: list[int] = []
    whole = SelfPlay(game, CONFIG.search, CONFIG.self_play, seed=CONFIG.seed, stream=1)
    games = whole.arrays()
    for number, simulations in enumerate((4, 4, 6)):
        worker = make_worker(CONFIG, None, 1)  # knows nothing of the segment before
        task = PlaySegment(1, number, simulations, games, CONFIG.seed)
        played = task.run(worker, counted.append, weights)
        expected = whole.play(worker.evaluators(weights), number, simulations=simulations)
        games = played.games
        assert played.samples.size > 0
        for ours, theirs in zip(*(named_fields(part.samples).values() for part in (played, expected)), strict=True):
            assert torch.equal(ours, theirs)
        assert replace(played.statistics, seconds=0, inference_seconds=0, cache_asked=0, cache_found=0) == replace(
            expected.statistics, seconds=0, inference_seconds=0, cache_asked=0, cache_found=0
        )
        assert {name: array.tolist() for name, array in games.items()} == {
            name: array.tolist() for name, array in whole.arrays().items()
        }
    assert sum(counted) == 3 * 8 * 4
