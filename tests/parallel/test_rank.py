"""A learner's state and batches cross from one process to another whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import psutil
import pytest
import torch

from alphazero.config import LearnerConfig, NetworkConfig
from alphazero.game import named_fields
from alphazero.learner import Batch, Learner, draw
from alphazero.parallel.executor import ExecutorError
from alphazero.parallel.rank import arrays, batch_of, interface_of, load_state, state_of
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.random_samples import samples

CONFIG = LearnerConfig(batch_size=16, precision="float32", warmup=0.0)
NETWORK = NetworkConfig(blocks=1, width=8)


def test_a_learner_that_takes_over_a_state_goes_on_as_the_first_one_does() -> None:
    one, other = (Learner(TicTacToe(), CONFIG, NETWORK, seed=seed) for seed in (1, 2))
    one.learn(samples(100), one.learning_rates(3, 0, 0.5), torch.Generator().manual_seed(1))
    load_state(other, state_of(one))
    assert other.steps == one.steps == 3
    for learner in (one, other):
        learner.learn(samples(100), learner.learning_rates(3, 0.5, 1), torch.Generator().manual_seed(2))
    assert all(torch.equal(tensor, other.tensors()[name]) for name, tensor in one.tensors().items())


def fields(batch: Batch) -> list[Any]:
    return list(named_fields(batch).values())


def test_batches_are_the_same_after_their_way_as_arrays() -> None:
    generator = torch.Generator().manual_seed(3)
    batches = [draw(TicTacToe(), samples(50), 8, generator) for _ in range(3)]
    for rows in (slice(0, 8), slice(2, 5)):
        sent = arrays(batches, rows)
        assert all(isinstance(field, np.ndarray) for field in fields(sent))
        assert all(field.shape[:2] == (3, rows.stop - rows.start) for field in fields(sent))
        for array in fields(sent):
            array.setflags(write=False)  # as those that come out of Ray's object store
        for step, batch in enumerate(batches):
            found = batch_of(sent, step)
            assert isinstance(found.samples.state, TicTacToeState)
            for ours, theirs in zip(fields(found), fields(batch), strict=True):
                assert torch.equal(ours, theirs[rows])


def test_an_interface_is_found_by_its_address() -> None:
    assert any(own.address == "127.0.0.1" for own in psutil.net_if_addrs()[interface_of("127.0.0.1")])
    with pytest.raises(ExecutorError, match=r"no network interface has that address"):
        interface_of("203.0.113.7")
