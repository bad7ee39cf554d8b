"""Ranks learn what one learner learns from whole batches, and lose nothing with a process that is killed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
import torch

from alphazero.cluster import gang as gang_module
from alphazero.cluster.cluster import cluster
from alphazero.cluster.gang import Gang, GangError
from alphazero.config import LearnerConfig, NetworkConfig
from alphazero.crew import CrewError
from alphazero.game import Game
from alphazero.learner import Learner, LearningError
from alphazero.replay import Samples
from games.tic_tac_toe import TicTacToe
from tests.cluster.misfortune import Misfortune
from tests.test_learner import samples

RESIDUAL = NetworkConfig(blocks=1, width=8)
DENSE = NetworkConfig(kind="dense", blocks=1, width=16)
# SGD and not AdamW, which divides a weight's gradient by its own size, whatever is left of it but rounding.
SGD = LearnerConfig(
    batch=32, optimizer="sgd", learning_rate=0.05, weight_decay=0.0, clip=0.5, precision="float32", warmup=0.0
)
ADAM = LearnerConfig(batch=16, precision="float32", warmup=0.0)


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with cluster("", cores=4):
        yield


@pytest.fixture(autouse=True)
def _short_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gang_module, "STEPS", 8)


def learner(game: Game, config: LearnerConfig, network: NetworkConfig = DENSE) -> Learner:
    return Learner(game, config, network, seed=3)


def training_set() -> Samples:
    many = samples(200)
    return many._replace(weight=torch.rand(200, generator=torch.Generator().manual_seed(1)) + 0.5)


class Call:
    """The arguments of a call of `learn`, and what became of it."""

    def __init__(self, one: Learner | Gang, steps: int, *, seed: int = 7) -> None:
        self.told: list[int] = []
        generator = torch.Generator().manual_seed(seed)
        self.measures = one.learn(
            training_set(), steps, generator, progress_from=0.2, progress_to=0.6, progress=self.told.append
        )
        del self.measures["learner/seconds"]
        self.drawn = generator.get_state()


def assert_same(one: Learner, other: Learner) -> None:
    """Bit for bit, in all that learning changes."""
    assert one.steps == other.steps
    assert all(torch.equal(tensor, other.tensors()[name]) for name, tensor in one.tensors().items())
    moments, others = one.optimizer.state_dict()["state"], other.optimizer.state_dict()["state"]
    assert all(torch.equal(tensor, others[n][name]) for n, part in moments.items() for name, tensor in part.items())


# --- The same as one learner


@pytest.mark.parametrize("network", [RESIDUAL, DENSE], ids=["residual", "dense"])
def test_two_ranks_learn_what_one_learner_learns_from_the_whole_batch(network: NetworkConfig) -> None:
    one, two = learner(TicTacToe(), SGD, network), learner(TicTacToe(), SGD, network)
    with Gang(two, ranks=2, gpus=False, say=pytest.fail) as gang:
        expected, found = Call(one, 1), Call(gang, 1)
        assert expected.measures["loss/gradient_norm"] > 2 * SGD.clip  # so clipping has its part in what follows
        # After the first step SGD's momentum is the gradient, clipped.
        for ours, theirs in zip(two.network.parameters(), one.network.parameters(), strict=True):
            gradient = one.optimizer.state[theirs]["momentum_buffer"]
            tolerance = 32 * 2**-24 * float(gradient.abs().max())  # 32 roundings of the largest
            momentum = two.optimizer.state[ours]["momentum_buffer"]
            torch.testing.assert_close(momentum, gradient, atol=tolerance, rtol=0)
        assert found.measures == pytest.approx(expected.measures, rel=1e-5)
        expected, found = Call(one, 20), Call(gang, 20)
        assert found.measures == pytest.approx(expected.measures, rel=1e-4)
        assert torch.equal(found.drawn, expected.drawn)
        assert sum(found.told) == 20
        assert one.steps == two.steps == 21
        for name, tensor in one.tensors().items():  # running statistics and averages among them
            torch.testing.assert_close(two.tensors()[name], tensor, atol=1e-5, rtol=1e-4)
        check_addresses(gang)
        poisoned = training_set()._replace(weight=torch.full((200,), torch.nan))
        with pytest.raises(LearningError, match=r"the loss is nan after 23 steps; lower learner\.learning_rate"):
            gang.learn(poisoned, 2, torch.Generator(), progress_from=0, progress_to=1)


def check_addresses(gang: Gang) -> None:
    """Nobody on another machine can connect to a rank of a cluster that is this machine's own."""
    for rank in gang.members:
        process = psutil.Process(ray.get(rank.__ray_call__.remote(lambda _: os.getpid())))
        listening = [c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert listening
        assert set(listening) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


# --- Losses


def test_a_gang_that_loses_ranks_ends_where_it_would_have_ended_without(tmp_path: Path) -> None:
    """Bit for bit: weights, running statistics, averages, moments, measures and what was drawn."""
    game = Misfortune(tmp_path)
    said: list[str] = []
    undisturbed = learner(game, ADAM, RESIDUAL)
    with Gang(undisturbed, ranks=2, gpus=False, say=said.append) as gang:
        expected = Call(gang, 30)
        assert said == []

        def check(steps_before: int) -> None:
            gang.learner = disturbed = learner(game, ADAM, RESIDUAL)
            found = Call(gang, 30)
            assert found.measures == expected.measures
            assert torch.equal(found.drawn, expected.drawn)
            assert sum(found.told) == 30
            assert_same(disturbed, undisturbed)
            assert said.pop().endswith(f"of 2 of the learner is lost; a new gang goes on from step {steps_before}.")
            assert said == []

        # The 22nd batch is made ready within the 21st step, after its gradients and before the step is whole.
        game.tell(1, 21, "die")
        check(20)
        for rank in range(2):
            game.tell(rank, 21, "die")
        check(0)
        psutil.Process(ray.get(gang.members[0].__ray_call__.remote(lambda _: os.getpid()))).kill()
        check(0)


def test_ranks_that_are_lost_again_and_again_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gang_module, "REBUILDS", 1)
    game = Misfortune(tmp_path)
    game.tell(1, 0, "die always")
    one, said = learner(game, ADAM), []
    with Gang(one, ranks=2, gpus=False, say=said.append) as gang:
        with pytest.raises(GangError, match="rank 1 of 2 of the learner is lost, and 1 new gangs before"):
            Call(gang, 5)
        assert len(said) == 1
    assert_same(one, learner(game, ADAM))


def test_what_a_rank_raises_reaches_the_caller_and_the_gang_can_go_on(tmp_path: Path) -> None:
    game = Misfortune(tmp_path)
    one, other = learner(game, ADAM), learner(game, ADAM)
    with Gang(one, ranks=2, gpus=False, say=pytest.fail) as gang:
        game.tell(1, 10, "raise")
        with pytest.raises(RuntimeError, match=r"(?s)Traceback.*in observe.*the board is spoilt"):
            Call(gang, 30)
        assert_same(one, other)

        def stop(steps: int) -> None:
            if steps:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            gang.learn(training_set(), 30, torch.Generator(), progress_from=0, progress_to=1, progress=stop)
        assert gang.members == []
        assert_same(one, other)


# --- What cannot be


def test_a_batch_has_to_divide_into_equal_shares() -> None:
    with pytest.raises(ValueError, match=r"learner\.batch = 32 does not divide into 3 ranks .*; set it to 33"):
        Gang(learner(TicTacToe(), SGD), ranks=3, gpus=False, say=pytest.fail)


@pytest.mark.parametrize(("ranks", "gpus"), [(8, False), (1, True)])
def test_a_cluster_without_room_is_told_soon(ranks: int, gpus: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gang_module, "ROOM", 1.0)
    needs = "1 CPU and 1 GPU" if gpus else "1 CPU"
    started = time.monotonic()
    with (
        pytest.raises(CrewError, match=f"{ranks} ranks of the learner of {needs} each were .* has 4 CPUs on 1 machine"),
        Gang(learner(TicTacToe(), SGD), ranks=ranks, gpus=gpus, say=pytest.fail),
    ):
        pass
    assert time.monotonic() - started < 5
    assert ray.util.placement_group_table() == {} or all(
        place["state"] == "REMOVED" for place in ray.util.placement_group_table().values()
    )
