"""A worker's tasks: segments go on with the games that they bring along, as one stream in one process does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from alphazero.config import NetworkConfig
from alphazero.game import named_fields
from alphazero.learner import Learner
from alphazero.network.architectures import inference_module
from alphazero.selfplay import SelfPlay
from alphazero.trainer.tasks import PlaySegment, make_worker
from games.tic_tac_toe import TicTacToe
from tests.training_runs import TASKS


def test_a_worker_imports_the_network_before_its_weights_come() -> None:
    """In a process of its own, where unpacking the weights would import it from wherever it lies."""
    nowhere = replace(TASKS, network=NetworkConfig(kind="tests.own_networks:Nowhere"))
    with pytest.raises(ValueError, match="it offers Plain"):
        make_worker(nowhere, None, 1)


def test_segments_in_different_processes_are_one_stream() -> None:
    game = TicTacToe()
    weights = inference_module(Learner(game, TASKS.learner, TASKS.network, seed=0).network)
    counted: list[int] = []
    whole = SelfPlay(game, TASKS.search, TASKS.self_play, seed=TASKS.seed, stream=1)
    games = whole.arrays()
    for number, simulations in enumerate((4, 4, 6)):
        worker = make_worker(TASKS, None, 1)  # knows nothing of the segment before
        task = PlaySegment(1, number, simulations, games, TASKS.seed)
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
