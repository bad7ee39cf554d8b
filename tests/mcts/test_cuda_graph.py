"""A recorded search gives what the search itself gives, whatever changes between two of its repetitions.

On the CPU a recording repeats the search in Python on the places of the recording; a GPU repeats a CUDA graph.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from alphazero.config import SearchConfig
from alphazero.game import Game, State, Transition, map_states
from alphazero.mcts import cuda_graph
from alphazero.mcts.evaluator import Evaluation, Evaluator, TimedEvaluator, UniformEvaluator
from alphazero.mcts.planning import planners
from alphazero.mcts.search import search
from alphazero.mcts.tree_search import SearchResult
from alphazero.network.architectures import inference_module
from alphazero.network.inference import TorchEvaluator
from alphazero.network.streams import own_stream
from games.breakthrough import Breakthrough
from games.connect_four import ConnectFour, ConnectFourState
from games.hex import Hex
from games.othello import Othello
from games.tic_tac_toe import TicTacToe
from tests.networks import trained
from tests.positions import random_positions
from tests.stubs import Drift

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]
CONFIGS = {
    "gumbel": SearchConfig(simulations=12),
    "puct": SearchConfig(algorithm="puct", simulations=12, max_depth=3),
}


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    cuda_graph.forget()
    yield
    cuda_graph.forget()


def network(game: Game, seed: int, device: str, *, dtype: torch.dtype = torch.float32) -> TorchEvaluator:
    return TorchEvaluator(game, inference_module(trained("residual", seed)), device=device, dtype=dtype)


def positions(game: Game, count: int, seed: int, device: str) -> State:
    found = random_positions(game, count, plies=30 if game.name == "connect_four" else 6, seed=seed)
    return map_states(lambda field: field.to(device), found)


def searched(
    evaluator: Evaluator, game: Game, roots: State, config: SearchConfig, *, seed: int = 0, recorded: bool | None = True
) -> SearchResult:
    generator = torch.Generator(roots[0].device).manual_seed(seed)
    return search(evaluator, game, roots, config, generator, recorded=recorded)


def assert_the_same(found: SearchResult, expected: SearchResult) -> None:
    """On a GPU cuDNN may choose another algorithm each time, which rounds otherwise: a few trees may differ."""
    same = (found.visits == expected.visits).all(1)
    assert same.float().mean() >= (0.9 if same.is_cuda else 1.0)
    tolerance: dict[str, Any] = {"rtol": 0.02, "atol": 0.02} if same.is_cuda else {}
    for name in ("action", "depth", "policy", "value", "q", "prior", "raw_value"):
        fields = (getattr(result, name)[same] for result in (found, expected))
        torch.testing.assert_close(*fields, **tolerance, msg=name)
    assert found.actions is None
    assert expected.actions is None


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CONFIGS)
def test_it_follows_positions_noise_and_weights(name: str, device: str) -> None:
    game, config = ConnectFour(), CONFIGS[name]
    expected, found = [], []
    for seed in range(3):
        evaluator, roots = network(game, seed, device), positions(game, 20, seed, device)
        found.append(searched(evaluator, game, roots, config, seed=seed))
        expected.append(searched(evaluator, game, roots, config, seed=seed, recorded=False))
    # Compared at the end: a later search does not change the result of an earlier one.
    for one, other in zip(found, expected, strict=True):
        assert_the_same(one, other)
    assert not torch.equal(found[0].visits, found[1].visits)
    assert len(cuda_graph._kept) == 1


@pytest.mark.parametrize("device", DEVICES)
def test_an_evaluator_keeps_its_weights_when_a_recording_gets_newer_ones(device: str) -> None:
    game, roots = ConnectFour(), positions(ConnectFour(), 8, 0, device)
    first, second = network(game, 1, device), network(game, 2, device)
    before = first(roots, torch.Generator(device))
    for evaluator in (first, second):
        searched(evaluator, game, roots, CONFIGS["gumbel"])
    assert torch.equal(first(roots, torch.Generator(device)).logits, before.logits)


@pytest.mark.parametrize("device", DEVICES)
def test_other_games_and_shapes_get_recordings_of_their_own(device: str) -> None:
    for game in (TicTacToe(), ConnectFour()):
        uniform: UniformEvaluator = UniformEvaluator(game)
        for batch in (5, 6):
            for simulations in (4, 9):
                config, roots = SearchConfig(simulations=simulations), positions(game, batch, 0, device)
                assert_the_same(
                    searched(uniform, game, roots, config), searched(uniform, game, roots, config, recorded=False)
                )
        assert len(cuda_graph._kept) == cuda_graph.KEPT == 4


def test_as_many_evaluations_are_counted_as_are_made() -> None:
    game, roots = ConnectFour(), positions(ConnectFour(), 20, 0, "cpu")
    counts = []
    for recorded in (True, False):
        timed = TimedEvaluator(UniformEvaluator(game))
        for _ in range(2):
            searched(timed, game, roots, CONFIGS["gumbel"], recorded=recorded)
        counts.append(timed.evaluations)
    assert counts[0] == counts[1] > 20


def test_values_from_rollouts_are_recorded_too() -> None:
    game, config = ConnectFour(), replace(CONFIGS["gumbel"], rollout_moves=3)
    inner, roots = planners(game, network(game, 1, "cpu"), config).inner, positions(game, 8, 0, "cpu")
    assert_the_same(searched(inner, game, roots, config), searched(inner, game, roots, config, recorded=False))
    assert len(cuda_graph._kept) == 1


@pytest.mark.parametrize("device", DEVICES)
def test_threads_do_not_share_a_recording_at_a_time(device: str) -> None:
    game, config = ConnectFour(), replace(CONFIGS["gumbel"], simulations=16)
    cases = [(network(game, seed, device), positions(game, 16, seed, device)) for seed in range(3)]
    expected = [searched(*case, config=config, recorded=False) for case in with_game(game, cases)]
    found: dict[int, list[SearchResult]] = {number: [] for number in range(3)}
    together = threading.Barrier(3)

    def work(number: int) -> None:
        together.wait()
        with own_stream(device):
            for _ in range(8):
                found[number].append(searched(*with_game(game, cases)[number], config=config))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, results in found.items():
        assert len(results) == 8
        for result in results:
            assert_the_same(result, expected[number])
    assert len(cuda_graph._kept) <= 3


def with_game(game: Game, cases: list[tuple[Evaluator, State]]) -> list[tuple[Evaluator, Game, State]]:
    return [(evaluator, game, roots) for evaluator, roots in cases]


class Silent:
    """An evaluator that does not tell its weights."""

    def __init__(self, game: Game) -> None:
        self.uniform: UniformEvaluator = UniformEvaluator(game)

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
        return self.uniform(states, generator)


def silent() -> tuple[Evaluator, Game]:
    game = ConnectFour()
    return Silent(game), game


def continuous() -> tuple[Evaluator, Game]:
    game = Drift()
    return UniformEvaluator(game, samples=4), game


@pytest.mark.parametrize("case", [silent, continuous])
def test_what_cannot_be_recorded_is_searched_all_the_same_with_one_warning(
    case: Callable[[], tuple[Evaluator, Game]],
) -> None:
    evaluator, game = case()
    roots, config = game.initial(4, generator=torch.Generator().manual_seed(0)), CONFIGS["gumbel"]
    expected = searched(evaluator, game, roots, config, recorded=False)
    with pytest.warns(RuntimeWarning, match=f"{game.name}: the search cannot be recorded.*draws random"):
        assert torch.equal(searched(evaluator, game, roots, config).visits, expected.visits)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        searched(evaluator, game, roots, config)


def test_a_failed_recording_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    game, tries = ConnectFour(), []

    def record(run: Callable[[], Any], device: torch.device) -> Any:
        tries.append(device.type)
        raise cuda_graph.CannotRecordError("it waits for the device")

    monkeypatch.setattr(cuda_graph, "record", record)
    uniform, roots = UniformEvaluator(game), game.initial(4)
    with pytest.warns(RuntimeWarning, match="connect_four.*it waits for the device"):
        found = searched(uniform, game, roots, CONFIGS["gumbel"])
    assert found.visits.sum(1).tolist() == [12] * 4
    searched(uniform, game, roots, CONFIGS["puct"])
    assert tries == ["cpu"]


class Waiting(ConnectFour):
    """Its step waits for the device, as rules in plain Python do."""

    def step(self, state: ConnectFourState, action: torch.Tensor) -> Transition[ConnectFourState]:
        transition = super().step(state, action)
        assert int(transition.done.sum()) >= 0
        return transition


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_game_that_waits_for_the_gpu_is_searched_without_a_graph() -> None:
    game, config = Waiting(), CONFIGS["gumbel"]
    roots = positions(game, 16, 0, "cuda")
    expected = searched(network(game, 1, "cuda"), game, roots, config, recorded=False)
    with pytest.warns(RuntimeWarning, match="connect_four: the search cannot be recorded as a CUDA graph"):
        found = searched(network(game, 1, "cuda"), game, roots, config, recorded=None)
    assert found.visits.sum(1).tolist() == [12] * 16
    assert_the_same(searched(network(game, 1, "cuda"), game, roots, config, recorded=None), expected)
    # Recordings of other games work as before.
    other = ConnectFour()
    assert_the_same(
        searched(network(other, 1, "cuda"), other, roots, config, recorded=None),
        searched(network(other, 1, "cuda"), other, roots, config, recorded=False),
    )
    assert len(cuda_graph._kept) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_searches_are_recorded_unless_told_otherwise() -> None:
    game, roots = ConnectFour(), positions(ConnectFour(), 64, 0, "cuda")
    evaluator = network(game, 1, "cuda", dtype=torch.bfloat16)
    config = SearchConfig(simulations=32)
    found = searched(evaluator, game, roots, config, recorded=None)
    assert len(cuda_graph._kept) == 1
    assert_the_same(found, searched(evaluator, game, roots, config, recorded=False))


def test_who_records_is_alone() -> None:
    """Two threads use the device in turns of their own, and each records now and then; no turn overlaps a recording."""
    gate, busy, recording, seen = cuda_graph.Gate(), threading.Semaphore(0), threading.Event(), []
    using = 0
    lock = threading.Lock()

    def change(by: int) -> None:
        nonlocal using
        with lock:
            using += by

    def work(number: int) -> None:
        for turn in range(60):
            with gate.using("cuda"):
                change(1)
                seen.append(("used", recording.is_set()))
                if turn % 10 == number:
                    change(-1)
                    with gate.alone():
                        recording.set()
                        seen.append(("recorded", using > 0))
                        busy.acquire(timeout=0.01)  # leaves the others time for a mistake
                        seen.append(("recorded", using > 0))
                        recording.clear()
                    change(1)
                change(-1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert seen.count(("used", False)) == 180
    assert seen.count(("recorded", False)) == 36


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("game", [Breakthrough(rows=6, columns=6), Hex(side=5), Othello(side=6)])
def test_on_a_gpu_every_included_board_game_is_recorded(game: Game) -> None:
    roots, evaluator, config = positions(game, 64, 0, "cuda"), UniformEvaluator(game), SearchConfig(simulations=16)
    found = searched(evaluator, game, roots, config, recorded=True)
    assert len(cuda_graph._kept) == 1
    assert_the_same(found, searched(evaluator, game, roots, config, recorded=False))
