"""What a benchmark plans, plays and writes; a small run of tic-tac-toe stands for all."""

from __future__ import annotations

import functools
import json
import math
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from alphazero.arena.benchmark import Benchmark, Match, write_json
from alphazero.arena.elo import ratings
from alphazero.arena.match import MatchResult, play_match
from alphazero.arena.plan import plan, spread
from alphazero.arena.players import AgentPlayer, MinimaxPlayer, NetworkPlayer, RandomPlayer, SearchBudget
from alphazero.arena.registry import PlayerSpec, find_player
from alphazero.parallel.executor import Counter, Task, Threads
from alphazero.report.benchmark import CurvePoint, curve_figure
from alphazero.runs.agents import Agent, load_agent
from alphazero.runs.files import RunError
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.training_runs import whole_run

FAST = SearchBudget(4)


class Listener:
    """Writes down what it is told, and raises once `patience` steps have ended."""

    def __init__(self, patience: int = 10**9) -> None:
        self.begun: list[tuple[str, int, str, int]] = []
        self.done: list[int] = []
        self.ended: list[str] = []
        self.patience = patience

    def begin(self, title: str, total: int, unit: str, *, steps: int) -> Callable[[int], None]:
        if steps and len(self.ended) >= self.patience:
            raise KeyboardInterrupt
        self.begun.append((title, total, unit, steps))
        self.done.append(0)
        place = len(self.done) - 1

        def advance(done: int) -> None:
            self.done[place] += done

        return advance

    def end(self, title: str, summary: str) -> None:
        if summary:
            self.ended.append(f"{title}: {summary}")


@functools.cache
def small_run(base: Path) -> Path:
    """A trained run, of which all tests of benchmarks may share one."""
    return Path(shutil.copytree(whole_run(base).folder, base / "benchmarked"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.getbasetemp())


LOADED: dict[bytes, Agent] = {}


def load_quickly(path: Path) -> Agent:
    """`load_agent`, but a checkpoint is exported once only, however many copies there are."""
    model = path / "model.safetensors"
    if not model.is_file():
        return load_agent(path)
    content = model.read_bytes()
    if content not in LOADED:
        LOADED[content] = load_agent(path)
    return LOADED[content]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alphazero.arena.plan.load_agent", load_quickly)


def played(path: Path, **options: object) -> Benchmark:
    listener = Listener()
    settings = {"games": 8, "budget": FAST, "seed": 1, "curve": 0} | options
    benchmark = plan(path, listener, **settings)  # type: ignore[arg-type]
    benchmark.run_all(listener, Threads(None, 1))
    return benchmark


def results_by_name(benchmark: Benchmark) -> dict[tuple[str, str], MatchResult]:
    found = {}
    for match, result in benchmark.results.items():
        assert match.opponent
        assert isinstance(result, MatchResult)
        found[match.player.name, match.opponent.name] = result
    return found


# ------------------------------------------------------------------------------------------- plan


def test_by_default_an_agent_meets_players_of_all_kinds(trained: Path) -> None:
    benchmark = plan(trained / "agent.onnx", Listener(), games=200, budget=SearchBudget(600), seed=1)
    assert [match.title for match in benchmark.matches] == [
        f"{player} against {opponent}"
        for opponent in ("random", "minimax:1", "minimax:3", "minimax:5", "mcts:1000")
        for player in ("agent:600", "network")
    ]
    assert {match.games for match in benchmark.matches} == {200}
    assert benchmark.curve == benchmark.position_tests == benchmark.players == []


def test_checkpoints_of_the_curve_are_evenly_spread() -> None:
    kept = [Path(f"{iteration:06d}") for iteration in (20, 40, 60, 80, 100, 120, 140, 154)]
    assert [int(path.name) for path in spread(kept, 3, 155)] == [40, 80, 120]  # nearest to 39, 77.5 and 116
    assert [int(path.name) for path in spread(kept, 1, 155)] == [80]
    assert spread(kept, 20, 155) == kept
    assert spread([], 4, 1) == []


def test_the_curve_ends_with_the_table_itself_where_it_can(trained: Path) -> None:
    slow = plan(trained, Listener(), against=["random"], games=40, budget=SearchBudget(600), seed=1, curve=2)
    assert [(point.iteration, point.role, point.match.player.name, point.match.games) for point in slow.curve] == [
        (2, "agent", "agent:64 of iteration 2", 10),
        (2, "network", "network of iteration 2", 10),
        (3, "agent", "agent:64 of iteration 3", 10),
        (3, "network", "network of iteration 3", 10),
        (4, "agent", "agent:64", 10),
        (4, "network", "network", 40),
    ]
    assert slow.curve[-1].match in slow.matches
    quick = plan(trained, Listener(), against=["random"], games=40, budget=SearchBudget(8), seed=1, curve=1)
    assert [point.match.player.name for point in quick.curve[-2:]] == ["agent:8", "network"]
    assert all(point.match in quick.matches for point in quick.curve[-2:])
    asked = plan(
        trained, Listener(), against=["random"], games=6, budget=FAST, seed=1, curve=1, curve_budget=SearchBudget(2)
    )
    assert [(p.match.player.name, p.match.games) for p in asked.curve if p.role == "agent"] == [
        ("agent:2 of iteration 2", 2),
        ("agent:2", 2),
    ]


def test_a_damaged_checkpoint_is_left_out_of_the_curve(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    (copy / "checkpoints" / "000002" / "model.safetensors").write_bytes(b"no model")
    benchmark = plan(copy, Listener(), against=["random"], games=8, budget=FAST, seed=1, curve=4)
    assert {point.iteration for point in benchmark.curve} == {3, 4}
    assert len(benchmark.notes) == 1
    assert "000002" in benchmark.notes[0]


def test_an_opponent_may_be_a_path_with_a_strength_of_its_own(trained: Path) -> None:
    agent = load_agent(trained / "agent.onnx")
    start = agent.game.initial(1)
    for text, simulations in (
        (f"{trained}", 4),
        (f"{trained / 'checkpoints' / '000002'}@16", 16),
        (f"{trained / 'agent.onnx'}@2", 2),
    ):
        player = find_player(text, agent, FAST)
        player = player.build(1)
        assert player.name == text
        assert isinstance(player, AgentPlayer)
        assert player.think(start).result().visits.sum() == simulations
    assert isinstance(find_player("minimax:3", agent, FAST).build(1), MinimaxPlayer)
    assert isinstance(find_player("random", agent, FAST).build(1), RandomPlayer)
    for text, error in (("nobody", ValueError), (f"{trained}@0", ValueError), (f"{trained}/none", RunError)):
        with pytest.raises(error):
            find_player(text, agent, FAST)


def test_two_checkpoints_play_each_other_as_they_are(trained: Path) -> None:
    """The opponent is the older network, not the agent's own: the arena says what comes of it."""
    older = trained / "checkpoints" / "000002"
    result = results_by_name(played(trained / "agent.onnx", against=[f"{older}@4"], games=40))["network", f"{older}@4"]
    agent, opponent = load_quickly(trained / "agent.onnx"), load_quickly(older)

    def expected(other: Agent) -> MatchResult:
        search = replace(other.search, simulations=4)  # without noise, so that the seed does not matter
        rival = AgentPlayer(other.game, other.evaluator, search, seed=7)
        return play_match(TicTacToe(), NetworkPlayer(agent.game, agent.evaluator), rival, games=40, seed=1)

    assert result == expected(opponent)
    assert result != expected(agent)


# ----------------------------------------------------------------------------------------- playing


def test_a_match_does_not_depend_on_the_others(trained: Path) -> None:
    together = results_by_name(played(trained / "agent.onnx", against=["mcts:4", "random", "minimax:2"], games=20))
    other_order = results_by_name(played(trained / "agent.onnx", against=["minimax:2", "mcts:4", "random"], games=20))
    alone = results_by_name(played(trained / "agent.onnx", against=["minimax:2"], games=20))
    assert together == other_order
    assert alone.items() <= together.items()
    other_seed = results_by_name(played(trained / "agent.onnx", against=["minimax:2"], games=20, seed=2))
    assert alone != other_seed


def test_player_and_opponent_draw_apart(trained: Path) -> None:
    """From the same seed, two random players would answer the same openings alike; so would that of the openings."""
    seeds: list[int] = []

    def build(seed: int) -> RandomPlayer:
        seeds.append(seed)
        return RandomPlayer(TicTacToe(), seed)

    benchmark = plan(trained / "agent.onnx", Listener(), against=[], games=2, budget=FAST, seed=1)
    benchmark.matches = [Match(PlayerSpec("one", build), PlayerSpec("other", build), 2)]
    benchmark.run_all(Listener(), Threads(None, 1))
    assert len({*seeds, benchmark.seed}) == 3


def test_a_match_that_is_asked_for_twice_is_played_once(trained: Path) -> None:
    listener = Listener()
    benchmark = plan(
        trained / "agent.onnx",
        listener,
        against=["random"],
        tournament=["minimax:2", "random"],
        games=6,
        budget=FAST,
        seed=1,
    )
    benchmark.run_all(listener, Threads(None, 1))
    titles = [title for title, *_ in listener.begun]
    assert titles == [
        "agent:4 against random",
        "network against random",
        "agent:4 against minimax:2",
        "minimax:2 against random",
    ]
    assert listener.begun[-1] == ("minimax:2 against random", 6, "games", 4)
    assert listener.done == [6, 6, 6, 6]
    assert listener.ended[0].startswith("agent:4 against random: ")
    assert benchmark.complete


def test_the_round_robin_is_rated_by_elo(trained: Path) -> None:
    benchmark = played(trained / "agent.onnx", tournament=["random", "minimax:2"], games=20)
    results = results_by_name(benchmark)
    assert set(results) == {("agent:4", "minimax:2"), ("agent:4", "random"), ("minimax:2", "random")}
    expected = ratings([(player, opponent, result.total) for (player, opponent), result in results.items()])
    standings = benchmark.standings()
    assert sorted(standing.rating for standing in standings) == sorted(expected)
    points = {standing.rating.player: standing.points for standing in standings}
    assert points["agent:4"]["random"] == results["agent:4", "random"].points
    assert results["minimax:2", "random"].points > 0.6
    assert points["random"]["minimax:2"] == pytest.approx(1 - results["minimax:2", "random"].points)
    assert points["random"].keys() == {"agent:4", "minimax:2"}
    record = benchmark.record()["tournament"]
    assert [player["player"] for player in record["players"]] == [standing.rating.player for standing in standings]
    assert len(record["matches"]) == 3
    assert played(trained / "agent.onnx", tournament=["minimax:2", "random"], games=20).results == benchmark.results


def test_the_figures_do_not_depend_on_the_number_of_threads(trained: Path, tmp_path: Path) -> None:
    positions = tmp_path / "positions.csv"
    columns = [f"score_{column}{row}" for row in "321" for column in "abc"]
    positions.write_text(f"moves,{','.join(columns)}\n,{','.join('0' * 9)}\n")
    found = []
    for threads in (1, 3):
        benchmark = plan(trained / "agent.onnx", Listener(), against=["random", "minimax:1", "mcts:8"], games=20,
                         budget=FAST, seed=1, files=[positions])  # fmt: skip
        benchmark.run_all(Listener(), Threads(None, threads))
        assert benchmark.complete
        found.append((benchmark.results, benchmark.errors))
    assert found[0] == found[1]


def test_what_had_ended_is_kept_and_can_be_gone_on_with(trained: Path) -> None:
    whole = played(trained / "agent.onnx", against=["random", "minimax:1"], tournament=["minimax:2"])
    listener = Listener(patience=2)
    benchmark = plan(
        trained / "agent.onnx",
        listener,
        against=["random", "minimax:1"],
        tournament=["minimax:2"],
        games=8,
        budget=FAST,
        seed=1,
    )
    with pytest.raises(KeyboardInterrupt):
        benchmark.run_all(listener, Threads(None, 1))
    assert not benchmark.complete
    record = benchmark.record()
    assert record["complete"] is False
    assert [match["opponent"] for match in record["matches"]] == ["random", "random"]
    assert record["tournament"] == {"players": [], "matches": []}
    rest = Listener()
    benchmark.run_all(rest, Threads(None, 1))
    assert len(rest.ended) == len(whole.results) - 2
    assert benchmark.complete
    assert benchmark.results == whole.results


class Prompt(Threads):
    """Has always ended by the time that it is asked."""

    def submit(self, task: Task[Any], *shared: Any, count: Counter = lambda done: None) -> Future[Any]:
        future = super().submit(task, *shared, count=count)
        wait([future])
        return future


def test_what_had_ended_before_it_was_looked_at_is_kept_too(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more is begun than the crew does at once: here three matches, of which the first is told of."""

    def interrupt(title: str, summary: str) -> None:
        raise KeyboardInterrupt

    listener = Listener()
    benchmark = plan(trained / "agent.onnx", listener, against=["random", "minimax:1"], games=2, budget=FAST, seed=1)
    assert len(benchmark.matches) == 4
    monkeypatch.setattr(listener, "end", interrupt)
    with Prompt(None, 3) as crew, pytest.raises(KeyboardInterrupt):
        benchmark.run_all(listener, crew)
    assert list(benchmark.results) == benchmark.matches[:3]


def test_what_is_under_way_at_an_error_ends_before_its_next_move(trained: Path) -> None:
    moving, go_on, moves = threading.Event(), threading.Event(), []

    class Waiting(RandomPlayer):
        def actions(self, states: TicTacToeState) -> Tensor:
            moves.append(self)
            moving.set()
            go_on.wait(30)
            return super().actions(states)

    class Failing(RandomPlayer):
        def actions(self, states: TicTacToeState) -> Tensor:
            moving.wait(30)
            raise ValueError("no idea")

    benchmark = plan(trained / "agent.onnx", Listener(), against=[], games=2, budget=FAST, seed=1)
    waiting, failing = (PlayerSpec(of.__name__, partial(of, TicTacToe())) for of in (Waiting, Failing))
    benchmark.matches = [Match(waiting, waiting, 2), Match(failing, failing, 2)]
    with Threads(None, 2) as crew:
        with pytest.raises(ValueError, match="no idea"):
            benchmark.run_all(Listener(), crew)
        go_on.set()
    assert len(moves) == 1


# ----------------------------------------------------------------------------------------- writing


def test_the_runs_folder_tells_of_the_benchmark(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    benchmark = played(copy, against=["random"], curve=1, games=16, curve_budget=SearchBudget(2))
    benchmark.write_beside_run()
    record = json.loads((copy / "benchmark.json").read_text())
    assert record == benchmark.record()
    assert record["complete"] is True
    assert record["iteration"] == 4
    assert [(point["iteration"], point["role"], point["player"]) for point in record["curve"]] == [
        (2, "agent", "agent:2 of iteration 2"),
        (2, "network", "network of iteration 2"),
        (4, "agent", "agent:2"),
        (4, "network", "network"),
    ]
    assert (copy / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert not list(copy.glob(".unfinished*"))
    events = EventAccumulator(str(copy / "tensorboard"))
    events.Reload()
    assert "benchmark/curve" in events.Tags()["images"]
    matches, curve = record["matches"], record["curve"]

    def scalars(tag: str) -> list[tuple[int, float]]:
        return [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]

    assert [(4, matches[0]["points"])] == scalars("benchmark/random/agent_points")
    assert [(4, matches[1]["points"])] == scalars("benchmark/random/network_points")
    assert [(4, matches[0]["interval"][0])] == scalars("benchmark/random/agent_points_low")
    assert [(2, curve[0]["points"]), (4, curve[2]["points"])] == scalars("benchmark_curve/random/agent_points")
    assert [(2, curve[1]["points"]), (4, curve[3]["points"])] == scalars("benchmark_curve/random/network_points")


def test_nothing_is_written_beside_other_agents_or_before_anything_is_played(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    before = sorted(copy.rglob("*"))
    for path in (copy / "agent.onnx", copy / "checkpoints" / "000002"):
        played(path, against=["random"], curve=4).write_beside_run()
    plan(copy, Listener(), against=["random"], games=8, budget=FAST, seed=1).write_beside_run()
    assert sorted(copy.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_named(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    (copy / "benchmark.json").mkdir()
    benchmark = played(copy, against=["random"])
    with pytest.raises(RunError, match=r"cannot write .*benchmark\.json"):
        benchmark.write_beside_run()


def test_json_has_no_number_that_json_lacks(trained: Path, tmp_path: Path) -> None:
    benchmark = played(trained / "agent.onnx", against=["random"], games=2)
    match = benchmark.matches[0]
    result = benchmark.results[match]
    assert isinstance(result, MatchResult)
    benchmark.results[match] = MatchResult(
        first=result.first, second=result.second, pairs=result.pairs, distinct_games=2
    )
    write_json(tmp_path / "o.json", benchmark.record())
    assert "NaN" not in (tmp_path / "o.json").read_text()
    assert json.loads((tmp_path / "o.json").read_text())["matches"][0]["seconds_a_move"] == {
        "player": None,
        "opponent": None,
    }


# ----------------------------------------------------------------------------------------- picture


def test_the_curve_shows_each_opponent_and_what_training_saw() -> None:
    points = [
        CurvePoint(iteration, role, opponent, points, (points - 0.1, min(1.0, points + 0.1)))
        for role, opponent, iteration, points in (
            ("agent", "random", 10, 0.75),
            ("agent", "random", 40, 1.0),
            ("network", "random", 10, 0.5),
            ("network", "random", 40, 0.25),
            ("agent", "runs/a/very/long/way/to/another/run", 40, 0.125),
        )
    ]
    history = {
        20: {"strength/random/points": 0.625, "network/random/points": 0.375},
        30: {"strength/random/points": math.nan, "budget/minimax:5/points": 0.5},
    }
    figure = curve_figure(points, history, title="run")  # type: ignore[arg-type]
    agent, network = figure.axes
    drawn = [
        {
            str(line.get_label()): list(zip(line.get_xdata(), line.get_ydata(), strict=True))  # type: ignore[arg-type]
            for line in reversed(axes.get_lines())
        }
        for axes in (agent, network)
    ]
    assert drawn[0]["random"] == [(10, 0.75), (40, 1.0)]
    assert drawn[0]["…ng/way/to/another/run"] == [(40, 0.125)]
    assert drawn[0]["_training"] == [(20, 0.625)]
    assert drawn[1]["random"] == [(10, 0.5), (40, 0.25)]
    assert drawn[1]["_training"] == [(20, 0.375)]
    assert agent.get_ylim() == (-0.02, 1.03)
