"""A benchmark's matches and their record, with a small run of tic-tac-toe."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from alphazero.arena.benchmark import Benchmark, Match
from alphazero.arena.elo import ratings
from alphazero.arena.match import MatchResult, play_match
from alphazero.arena.opponents import expected_moves
from alphazero.arena.plan import plan
from alphazero.arena.players import AgentPlayer, NetworkPlayer, RandomPlayer, SearchBudget
from alphazero.arena.registry import PlayerSpec
from alphazero.parallel.executor import Counter, Task, ThreadExecutor
from alphazero.runs.agents import Agent
from alphazero.runs.files import write_json
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.small_benchmark import FAST, Listener, load_quickly, played

pytestmark = pytest.mark.usefixtures("quick")


def results_by_name(benchmark: Benchmark) -> dict[tuple[str, str], MatchResult]:
    found = {}
    for match, result in benchmark.results.items():
        assert match.opponent
        assert isinstance(result, MatchResult)
        found[match.player.name, match.opponent.name] = result
    return found


def test_two_checkpoints_play_each_other_as_they_are(trained: Path) -> None:
    """The opponent is the older network, not the agent's own; the arena plays the match to compare with."""
    older = trained / "checkpoints" / "000002"
    result = results_by_name(played(trained / "agent.onnx", against=[f"{older}@4"], games=40))["network", f"{older}@4"]
    agent, opponent = load_quickly(trained / "agent.onnx"), load_quickly(older)

    def expected(other: Agent) -> MatchResult:
        search = replace(other.search, simulations=4)  # without noise, so that the seed does not matter
        rival = AgentPlayer(other.game, other.evaluator, search, seed=7)
        return play_match(TicTacToe(), NetworkPlayer(agent.game, agent.evaluator), rival, games=40, seed=1)

    assert result == expected(opponent)
    assert result != expected(agent)


def test_a_match_does_not_depend_on_the_others(trained: Path) -> None:
    together = results_by_name(played(trained / "agent.onnx", against=["mcts:4", "random", "minimax:2"], games=20))
    other_order = results_by_name(played(trained / "agent.onnx", against=["minimax:2", "mcts:4", "random"], games=20))
    alone = results_by_name(played(trained / "agent.onnx", against=["minimax:2"], games=20))
    assert together == other_order
    assert alone.items() <= together.items()
    other_seed = results_by_name(played(trained / "agent.onnx", against=["minimax:2"], games=20, seed=2))
    assert alone != other_seed


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
    benchmark.run_all(listener, ThreadExecutor(None, 1))
    titles = [title for title, *_ in listener.begun]
    assert titles == [
        "agent:4 against random",
        "network against random",
        "agent:4 against minimax:2",
        "minimax:2 against random",
    ]
    assert listener.begun[-1] == ("minimax:2 against random", expected_moves(TicTacToe(), 6), "moves", 4)
    assert all(6 * 3 <= moves <= 6 * 9 for moves in listener.done)  # an opening has two plies at the most
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
        benchmark.run_all(Listener(), ThreadExecutor(None, threads))
        assert benchmark.complete
        found.append((benchmark.results, benchmark.answers))
    assert found[0] == found[1]


def test_checkpoints_answer_the_solved_positions_too(trained: Path, tmp_path: Path) -> None:
    """Without any opponent; the last one's answers by the network are those of the table, and asked for once."""
    positions = tmp_path / "positions.csv"
    columns = [f"score_{column}{row}" for row in "321" for column in "abc"]
    positions.write_text(f"moves,{','.join(columns)}\n,{','.join('0' * 9)}\nb2,{',,'.join(['0,0,0,0', '0,0,-1,0'])}\n")
    benchmark = played(trained, against=[], curve=1, files=[positions], curve_budget=SearchBudget(2))
    assert benchmark.complete
    curve = benchmark.record()["position_curve"]
    assert [(point["iteration"], point["role"], point["player"]) for point in curve] == [
        (2, "agent", "agent:2 of iteration 2"),
        (2, "network", "network of iteration 2"),
        (4, "agent", "agent:2"),
        (4, "network", "network"),
    ]
    (network,) = (test for test in benchmark.record()["positions"] if test["player"] == "network")
    assert curve[3] == {"iteration": 4, "role": "network"} | network
    assert len(benchmark.answers) == 3 + 3


def test_ended_matches_are_kept_and_the_benchmark_can_go_on(trained: Path) -> None:
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
        benchmark.run_all(listener, ThreadExecutor(None, 1))
    assert not benchmark.complete
    record = benchmark.record()
    assert record["complete"] is False
    assert [match["opponent"] for match in record["matches"]] == ["random", "random"]
    assert record["tournament"] == {"players": [], "matches": []}
    rest = Listener()
    benchmark.run_all(rest, ThreadExecutor(None, 1))
    assert len(rest.ended) == len(whole.results) - 2
    assert benchmark.complete
    assert benchmark.results == whole.results


class Prompt(ThreadExecutor):
    """Threads whose tasks have always ended when their futures are asked."""

    def submit(self, task: Task[Any], *shared: Any, count: Counter = lambda done: None) -> Future[Any]:
        future = super().submit(task, *shared, count=count)
        wait([future])
        return future


def test_matches_that_ended_before_they_were_looked_at_are_kept_too(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no more is begun than the executor does at once: here three matches, of which the first is reported."""

    def interrupt(title: str, summary: str) -> None:
        raise KeyboardInterrupt

    listener = Listener()
    benchmark = plan(trained / "agent.onnx", listener, against=["random", "minimax:1"], games=2, budget=FAST, seed=1)
    assert len(benchmark.matches) == 4
    monkeypatch.setattr(listener, "end", interrupt)
    with Prompt(None, 3) as executor, pytest.raises(KeyboardInterrupt):
        benchmark.run_all(listener, executor)
    assert list(benchmark.results) == benchmark.matches[:3]


def test_matches_under_way_at_an_error_end_before_their_next_move(trained: Path) -> None:
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
    with ThreadExecutor(None, 2) as executor:
        with pytest.raises(ValueError, match="no idea"):
            benchmark.run_all(Listener(), executor)
        go_on.set()
    assert len(moves) == 1


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
