"""Ranks learn what one learner learns from whole batches, and lose nothing with a process that is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import psutil
import pytest
import ray
import torch

from alphazero.config import LearnerConfig, NetworkConfig
from alphazero.game import Game
from alphazero.learner import Learner, LearningError
from alphazero.parallel import distributed_learner as module
from alphazero.parallel.distributed_learner import DistributedLearner, DistributedLearnerError
from alphazero.parallel.executor import ExecutorError
from alphazero.parallel.ray_cluster import cluster
from alphazero.replay import Samples
from games.tic_tac_toe import TicTacToe
from tests.parallel.faulty_games import FaultyRanks
from tests.random_samples import samples

pytestmark = pytest.mark.cluster

RESIDUAL = NetworkConfig(blocks=1, width=8)
DENSE = NetworkConfig(kind="dense", blocks=1, width=16)
FORESEEING = replace(DENSE, end_weight=1.0)
NORMED = NetworkConfig(kind="tests.own_networks:NormedOnce")
# SGD and not AdamW, which divides a weight's gradient by its own size, whatever is left of it but rounding.
SGD = LearnerConfig(
    batch_size=32,
    optimizer="sgd",
    learning_rate=0.05,
    weight_decay=0.0,
    max_grad_norm=0.2,
    precision="float32",
    warmup=0.0,
)
ADAM = LearnerConfig(batch_size=16, precision="float32", warmup=0.0)


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with cluster("", cores=4):
        yield


@pytest.fixture(autouse=True)
def _short_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS", 8)


def learner(game: Game, config: LearnerConfig, network: NetworkConfig = DENSE) -> Learner:
    return Learner(game, config, network, seed=3)


def training_set() -> Samples:
    many = samples(200)
    return many._replace(weight=torch.rand(200, generator=torch.Generator().manual_seed(1)) + 0.5)


class Call:
    """The arguments and the results of a call of `learn`."""

    def __init__(self, one: Learner | DistributedLearner, steps: int, *, stop: int | None = None) -> None:
        """InterruptedError, from the call's own `progress`, once `stop` steps are done."""
        self.told: list[int] = []

        def progress(steps: int) -> None:
            self.told.append(steps)
            if stop is not None and sum(self.told) >= stop:
                raise InterruptedError

        generator = torch.Generator().manual_seed(7)
        rates = (one if isinstance(one, Learner) else one.learner).learning_rates(steps, 0.2, 0.6)
        self.measures = one.learn(training_set(), rates, generator, progress=progress)
        del self.measures["learner/seconds"]
        self.drawn = generator.get_state()


def assert_same(one: Learner, other: Learner) -> None:
    """Bit for bit, in all that learning changes."""
    assert one.steps == other.steps
    assert all(torch.equal(tensor, other.tensors()[name]) for name, tensor in one.tensors().items())
    moments, others = one.optimizer.state_dict()["state"], other.optimizer.state_dict()["state"]
    assert all(torch.equal(tensor, others[n][name]) for n, part in moments.items() for name, tensor in part.items())


# --- The same as one learner


@pytest.mark.parametrize(
    "network", [RESIDUAL, DENSE, FORESEEING, NORMED], ids=["residual", "dense", "foreseeing", "own"]
)
def test_two_ranks_learn_what_one_learner_learns_from_the_whole_batch(network: NetworkConfig) -> None:
    one, two = learner(TicTacToe(), SGD, network), learner(TicTacToe(), SGD, network)
    with DistributedLearner(two, ranks=2, gpus=False, say=pytest.fail) as distributed:
        expected, found = Call(one, 1), Call(distributed, 1)
        assert expected.measures["loss/gradient_norm"] > 2 * SGD.max_grad_norm  # so clipping has its part
        # After the first step SGD's momentum is the gradient, clipped.
        for ours, theirs in zip(two.network.parameters(), one.network.parameters(), strict=True):
            gradient = one.optimizer.state[theirs]["momentum_buffer"]
            tolerance = 32 * 2**-24 * float(gradient.abs().max())  # 32 roundings of the largest
            momentum = two.optimizer.state[ours]["momentum_buffer"]
            torch.testing.assert_close(momentum, gradient, atol=tolerance, rtol=0)
        assert found.measures == pytest.approx(expected.measures, rel=1e-5)
        expected, found = Call(one, 20), Call(distributed, 20)
        assert found.measures == pytest.approx(expected.measures, rel=1e-4)
        assert torch.equal(found.drawn, expected.drawn)
        assert sum(found.told) == 20
        assert one.steps == two.steps == 21
        for name, tensor in one.tensors().items():  # running statistics and averages among them
            torch.testing.assert_close(two.tensors()[name], tensor, atol=1e-5, rtol=1e-4)
        check_addresses(distributed)
        before = learner(TicTacToe(), SGD, network)
        before.load(two.tensors(), two.optimizer.state_dict(), two.steps)
        with pytest.raises(InterruptedError):
            Call(distributed, 20, stop=8)
        assert distributed.actors == []
        assert_same(two, before)


def check_addresses(distributed: DistributedLearner) -> None:
    """Nobody on another machine can connect to a rank of a cluster that is this machine's own."""
    for rank in distributed.actors:
        process = psutil.Process(ray.get(rank.__ray_call__.remote(lambda _: os.getpid())))
        listening = [c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert listening
        assert set(listening) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


# --- Losses


class Unlucky(NamedTuple):
    """A distributed learner whose ranks the game can kill, its messages, and its results when no rank is lost."""

    distributed: DistributedLearner
    game: FaultyRanks
    said: list[str]
    undisturbed: Learner
    expected: Call

    def learner(self) -> Learner:
        self.distributed.learner = learner(self.game, ADAM, RESIDUAL)
        return self.distributed.learner


@pytest.fixture(scope="module")
def unlucky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unlucky]:
    game, said = FaultyRanks(tmp_path_factory.mktemp("faults")), []
    undisturbed = learner(game, ADAM, RESIDUAL)
    with DistributedLearner(undisturbed, ranks=2, gpus=False, say=said.append) as distributed:
        expected = Call(distributed, 30)
        assert said == []
        yield Unlucky(distributed, game, said, undisturbed, expected)


@pytest.mark.parametrize(("lost", "goes_on_from"), [([1], 20), ([0, 1], 0)], ids=["one", "all"])
def test_a_learner_that_loses_ranks_ends_where_it_ends_without(
    unlucky: Unlucky, lost: list[int], goes_on_from: int
) -> None:
    """Bit for bit: weights, running statistics, averages, moments, measures and what was drawn."""
    disturbed = unlucky.learner()
    for rank in lost:  # prepares the 22nd batch within the 21st step, which then has its gradients and is not whole
        unlucky.game.tell(rank, 21, "die")
    found = Call(unlucky.distributed, 30)
    (said,) = unlucky.said
    unlucky.said.clear()
    assert said.endswith(f" of 2 of the learner is lost; new ranks go on from step {goes_on_from}.")
    assert said.startswith(("rank 0", "rank 1") if len(lost) > 1 else "rank 1 of")
    assert found.measures == unlucky.expected.measures
    assert torch.equal(found.drawn, unlucky.expected.drawn)
    assert sum(found.told) == 30
    assert min(found.told) == 0  # never back, though both ranks' steps are taken again
    assert_same(disturbed, unlucky.undisturbed)


def test_a_loss_that_is_no_number_ends_learning_as_it_does_without_ranks(unlucky: Unlucky) -> None:
    unlucky.learner()
    poisoned = training_set()._replace(weight=torch.full((200,), torch.nan))
    with pytest.raises(LearningError, match=r"the loss is nan after 2 steps; lower learner\.learning_rate"):
        unlucky.distributed.learn(poisoned, [1e-3] * 2, torch.Generator())


def test_ranks_that_are_lost_again_and_again_are_given_up(unlucky: Unlucky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTARTS", 1)
    one = unlucky.learner()
    unlucky.game.tell(1, 0, "die always")
    with pytest.raises(
        DistributedLearnerError, match="rank 1 of 2 of the learner is lost, after 1 new start without a step"
    ):
        Call(unlucky.distributed, 5)
    unlucky.game.spare(1)
    assert len(unlucky.said) == 1
    unlucky.said.clear()
    assert_same(one, unlucky.learner())


def test_a_ranks_exception_reaches_the_caller(unlucky: Unlucky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NOTICE", 0.5)  # nobody dies here
    one = unlucky.learner()
    unlucky.game.tell(1, 10, "raise")
    with pytest.raises(RuntimeError, match=r"(?s)Rank\.learn.*in observe.*the board is spoilt"):
        Call(unlucky.distributed, 30)
    assert unlucky.said == []
    assert_same(one, unlucky.learner())


# --- Refused


def test_a_batch_has_to_divide_into_equal_shares() -> None:
    with pytest.raises(ExecutorError, match=r"learner\.batch_size = 32 does not divide into 3 ranks .*; set it to 33"):
        DistributedLearner(learner(TicTacToe(), SGD), ranks=3, gpus=False, say=pytest.fail)


@pytest.mark.parametrize(
    ("ranks", "gpus", "asked"),
    [(8, False, "8 ranks of the learner of 1 CPU"), (1, True, "1 rank of the learner of 1 CPU and 1 GPU")],
)
def test_a_cluster_without_room_is_reported(
    ranks: int, gpus: bool, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROOM", 1.0)
    with (
        pytest.raises(ExecutorError, match=f"^{asked} each were asked for, and the cluster has 4 CPUs on 1 machine"),
        DistributedLearner(learner(TicTacToe(), SGD), ranks=ranks, gpus=gpus, say=pytest.fail),
    ):
        pass
