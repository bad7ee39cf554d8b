"""Steps of learning that are recorded once and repeated, as a GPU does, are the same steps."""

from __future__ import annotations

import copy
import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from alphazero import learner as learner_module
from alphazero.config import NetworkConfig, SearchConfig
from alphazero.learner import Learner
from alphazero.mcts.cuda_graph import CannotRecordError
from alphazero.mcts.evaluator import UniformEvaluator
from alphazero.mcts.search import search
from alphazero.network.streams import own_stream
from alphazero.selfplay import stream_generator
from games.tic_tac_toe import TicTacToe
from tests.random_samples import samples
from tests.test_learner import GAME, PLAIN, learn, learner

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_recorded_steps_are_the_same_steps(optimizer: Literal["adamw", "sgd"], device: str) -> None:
    """Also after other weights and moments are loaded. On a CPU what is recorded is run again, on the same places."""
    config = replace(PLAIN, optimizer=optimizer, device=device, warmup=1.0, learning_rate=0.01, ema_decay=0.8)
    network = NetworkConfig(blocks=2, width=8, end_weight=1.0)
    plain, recorded = (Learner(GAME, config, network, seed=0) for _ in range(2))
    plain.recordable, recorded.recordable = False, True
    metrics = []
    for made in (plain, recorded):
        first = learn(made, samples(60, seed=0), 6, at=0.3)
        saved = {name: tensor.clone() for name, tensor in made.tensors().items()}
        moments = copy.deepcopy(made.optimizer.state_dict())
        other = samples(50, seed=1)
        second = learn(made, other._replace(plies_left=5 * other.plies_left), 3, at=0.6)
        made.load(saved, moments, 6)
        metrics.append((first, second, learn(made, samples(40, seed=2), 5, seed=1, at=0.9)))
        assert (made.recorded is not None) == made.recordable
        assert made.steps == int(made.average.n_averaged) == 11
        assert not any(group.get("capturable") or isinstance(group["lr"], Tensor) for group in moments["param_groups"])
    # A recorded learning rate is in float32; on a GPU, sums are rounded in another order.
    tolerance = 0.1 if device == "cuda" else 1e-4
    for found, expected in zip(metrics[1], metrics[0], strict=True):
        for tag in found.keys() - {"learner/seconds"}:
            assert found[tag] == pytest.approx(expected[tag], rel=tolerance, abs=tolerance), tag
    begun, expected, found = (weights(made) for made in (Learner(GAME, config, network, seed=0), plain, recorded))
    for there, here, start in zip(expected, found, begun, strict=True):
        assert float((there - here).norm()) <= tolerance * float((there - start).norm())


def weights(made: Learner) -> list[Tensor]:
    """Those of the network and of its average, each in one."""
    return [
        torch.cat([tensor.float().flatten() for name, tensor in made.tensors().items() if name.startswith(prefix)])
        for prefix in ("network.", "average.module.")
    ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_steps_are_recorded_in_bfloat16_as_well() -> None:
    made = Learner(GAME, replace(PLAIN, device="cuda", precision="bfloat16"), NetworkConfig(width=16), seed=0)
    few = samples(16, seed=0)
    before = learn(made, few, 3)["loss/total"]
    for _ in range(20):
        after = learn(made, few, 10)["loss/total"]
    assert made.recorded is not None
    assert after < 0.8 * before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_steps_and_searches_are_recorded_side_by_side() -> None:
    made, game = Learner(GAME, replace(PLAIN, device="cuda"), NetworkConfig(blocks=2, width=16), seed=0), TicTacToe()
    learn(made, samples(16, seed=0), 3)

    def play() -> list[int]:
        with own_stream("cuda"):
            generator = stream_generator(0, device="cuda")
            roots, uniform = game.initial(64, generator=generator), UniformEvaluator(game)
            configs = [SearchConfig(simulations=simulations) for simulations in range(4, 24)]
            found = [search(uniform, game, roots, config, generator, recorded=True) for config in configs]
            return [int(result.visits[0].sum()) for result in found]

    with ThreadPoolExecutor() as pool, own_stream("cuda"):
        played = [pool.submit(play) for _ in range(2)]
        for _ in range(10):
            moments = copy.deepcopy(made.optimizer.state_dict())
            made.load({name: tensor.clone() for name, tensor in made.tensors().items()}, moments, made.steps)
            assert math.isfinite(learn(made, samples(16, seed=0), 6)["loss/total"])
            assert made.recorded is not None
        assert [one.result() for one in played] == 2 * [list(range(4, 24))]


def test_a_step_that_cannot_be_recorded_is_taken_all_the_same_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def record(*args: object, **options: object) -> None:
        raise CannotRecordError("it waits for the device")

    monkeypatch.setattr(learner_module, "record", record)
    plain, made = learner(), learner()
    made.recordable = True
    learn(plain, samples(20, seed=0), 6)
    with pytest.warns(RuntimeWarning, match="tic_tac_toe: a step of learning cannot be recorded.*waits for the device"):
        learn(made, samples(20, seed=0), 6)
    assert made.recorded is None
    assert all(torch.equal(tensor, plain.tensors()[name]) for name, tensor in made.tensors().items())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn(made, samples(20, seed=0), 6)
