"""The library's page says what happens, and its few names do what the scripts and the engine's parts do."""

from __future__ import annotations

import csv
import doctest
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import alphazero
from alphazero import library
from alphazero.arena.match import MatchResult, SoloResult, play_match
from alphazero.arena.players import PLANNING, RandomPlayer, UntrainedEvaluator
from alphazero.config import ConfigError
from alphazero.game import Discrete, PythonGame
from alphazero.game.record import Record
from alphazero.runs.checkpoint import checkpoints
from alphazero.runs.files import RunError
from games.connect_four import ConnectFour
from games.othello import Othello
from games.tic_tac_toe import TicTacToe
from scripts import benchmark as script
from tests.stubs import Drift, Mine
from tests.training_runs import SMALL

ROOT = Path(__file__).resolve().parents[1]
BOARD = """
  . . . . . . .
  . . . . . . .
  . . . . . . .
  . . . x . . .
  . . x o . . .
  . o x o x . .
  1 2 3 4 5 6 7
"""
MOVES = "3434425"  # lead there


@pytest.fixture(scope="module")
def agent() -> alphazero.Agent:
    return alphazero.load_agent("connect_four")


def test_its_page_says_what_happens() -> None:
    failed, tried = doctest.testfile(str(ROOT / "docs/library.md"), module_relative=False)
    assert tried > 30
    assert not failed


def test_its_names_are_those_of_its_page_and_importing_it_loads_nothing() -> None:
    page = (ROOT / "docs/library.md").read_text()
    offered = {name for names in alphazero.OFFERED.values() for name in names}
    assert all(f"`{name}" in page or f".{name}(" in page for name in offered - {"Agent", "Thought", "Evaluation"})
    assert offered <= set(dir(alphazero))
    assert all(getattr(alphazero, name).__name__ == name for name in offered)
    told = "import sys, alphazero; print(sorted({'torch', 'numpy', 'pydantic'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'laod_agent'"):
        alphazero.laod_agent  # noqa: B018


# Positions


def test_all_forms_of_a_position_are_one(agent: alphazero.Agent) -> None:
    record = Record(agent.game, MOVES)
    array = np.array([[".xo".index(mark) for mark in line.split()] for line in BOARD.split("\n")[1:7]])
    forms: list[Any] = [
        MOVES, " ".join(MOVES), [int(move) - 1 for move in MOVES], np.array(array), torch.tensor(array), BOARD,
        BOARD.replace(" x o x ", "[x] o  x "), record, record.state,
    ]  # fmt: skip
    first, *others = agent.think(forms, simulations=32)
    assert agent.game.render(record.state).split() == BOARD.split()
    for other in others:
        assert other == first
    assert agent.think(BOARD, simulations=32).value == pytest.approx(first.value, abs=1e-3)  # alone: other batches


def test_a_batch_is_what_each_is_alone(agent: alphazero.Agent) -> None:
    """As far as rounding in batches of other sizes goes."""
    positions = ["", "4", "44", "4433"]
    for together, moves in zip(agent.think(positions, simulations=16), positions, strict=True):
        alone = agent.think(moves, simulations=16)
        assert together.move == alone.move
        assert together.value == pytest.approx(alone.value, abs=1e-3)
    assert agent.think([]) == agent.think("")  # no actions: the start


def test_the_board_says_who_moves_or_the_caller_does() -> None:
    game = Othello(side=6)
    start = game.render(game.initial(1))
    with pytest.raises(ValueError, match="say to_play, 0 or 1"):
        library.state_of(game, start)
    for text, to_play in ((start, 0), (f"{start}\n x to move", None), (f"{start}\n o to move", 0)):
        state = library.state_of(game, text, to_play)
        assert torch.equal(game.key(state), game.key(game.initial(1)))
    other = library.state_of(game, f"{start}\n o to move")
    assert int(game.to_play(other)) == 1
    assert torch.equal(game.observe(other), game.observe(game.initial(1)).flip(1))


@pytest.mark.parametrize(
    ("position", "fault"),
    [
        ("4444444", "move 7 of '4444444': 4 is not legal here"),
        ("48", "no action is called '8'"),
        ([3, 7], "8 is not legal here"),
        ("1212121", "the game is over there"),
        (np.zeros((7, 6), int), r"a board of connect_four has shape \(6, 7\), not \(7, 6\)"),
        (np.full((6, 7), 3), "a board holds 0 .* 1 .* 2 .*, nothing else"),
        (BOARD.replace("x", "o"), "x has 0 marks and o has 7"),
        (BOARD.replace(". o x o x", ". . x o x").replace(". . x o .", ". o x o ."), "a stone hangs in the air"),
        (ConnectFour().initial(2), "a batch of one here, not of 2"),
    ],
)
def test_what_is_no_position_is_told(agent: alphazero.Agent, position: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        agent.think(position)


def test_budgets_have_limits(agent: alphazero.Agent) -> None:
    assert agent.think("121212", seconds=0.05).move == "1"
    for wrong in ({"simulations": 0}, {"simulations": 1 << 30}, {"seconds": 0.0}, {"seconds": 1e6}):
        with pytest.raises(ValueError, match="is no search budget; expected simulations a move"):
            agent.think("", **wrong)  # type: ignore[arg-type]


def test_games_without_boards_say_so() -> None:
    with pytest.raises(ValueError, match="mine takes no boards, since its class has no `from_board`; give the moves"):
        library.state_of(Mine(), np.zeros((2, 2)))


# Thoughts


def test_thoughts_are_the_searchs_own(agent: alphazero.Agent) -> None:
    """Of a position that the rules decide: x completes four in column 1 at once; o could only lose."""
    won = agent.think("121212", simulations=50)
    assert (won.move, won.action, won.value, won.plies, won.line) == ("1", 0, 1.0, 1, "1")
    quiet = agent.think("44", simulations=50)
    assert quiet.plies is None
    assert set(quiet.policy) == set(quiet.prior) == set("1234567")
    assert sum(quiet.policy.values()) == pytest.approx(1, abs=1e-5)
    assert sum(quiet.prior.values()) == pytest.approx(1, abs=1e-5)
    assert quiet.line[0] == quiet.move == str(quiet.action + 1)  # type: ignore[operator]
    assert set(agent.think("444444", simulations=8).policy) == set("123567")  # a full column is no move
    evaluation = agent.evaluator(Record(agent.game, "44").state, torch.Generator())
    assert quiet.raw_value == pytest.approx(float(evaluation.value), abs=1e-5)
    expected = evaluation.logits[0].softmax(0).tolist()
    assert list(quiet.prior.values()) == pytest.approx(expected, abs=1e-5)


def test_any_evaluator_and_continuous_actions_are_thought_of_as_well() -> None:
    game = Drift()
    made = library.Agent(game, UntrainedEvaluator(game), PLANNING, "untrained")
    thought = made.think(game.initial(1), simulations=4)
    assert isinstance(thought.action, tuple)
    low, high = game.actions.low, game.actions.high
    assert all(least <= number <= most for least, number, most in zip(low, thought.action, high, strict=True))
    assert thought.move in thought.policy
    assert sum(thought.policy.values()) == pytest.approx(1, abs=1e-5)


# Training


class Race(PythonGame[int]):
    """For one who counts up by 1 or 2 and should end on 4 exactly; a class that stands beside its training."""

    name, num_players = "race", 1
    actions, observation_shape = Discrete(2), (5,)

    def initial(self) -> int:
        return 0

    def legal_actions(self, position: int) -> list[int]:
        return [0, 1]

    def play(self, position: int, action: int) -> int:
        return min(position + 1 + action, 5) if position != 3 or action == 0 else 5

    def is_over(self, position: int) -> bool:
        return position >= 4

    def reward(self, position: int, action: int, successor: int) -> float:
        return float(successor == 4)

    def observe(self, position: int) -> Any:
        return np.eye(6)[position][:5]


def weights(folder: Path) -> bytes:
    return (checkpoints(folder)[-1] / "model.safetensors").read_bytes()


def test_a_callback_sees_each_iteration_and_ends_the_run_which_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    seen: list[tuple[int, Mapping[str, float]]] = []

    def stop_after_two(iteration: int, metrics: Mapping[str, float]) -> None:
        assert checkpoints(tmp_path / "run")[-1].name.lstrip("0") == str(iteration)  # it is saved already
        seen.append((iteration, dict(metrics)))
        if iteration == 2:
            raise StopIteration

    config = replace(SMALL, iterations=3, evaluation=replace(SMALL.evaluation, every=0, games=2))
    agent = alphazero.train(config, tmp_path / "run", callback=stop_after_two, quiet=True)
    assert agent.title.endswith("iteration 2")
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = [{tag: float(value) for tag, value in row.items() if value} for row in csv.DictReader(file)]
    assert [number for number, _ in seen] == [1, 2]
    for (_, metrics), row in zip(seen, rows, strict=True):
        assert metrics.items() <= row.items()
    alphazero.train(config, tmp_path / "run", resume=True, quiet=True)
    alphazero.train(config, tmp_path / "whole", quiet=True)
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    columns = alphazero.read_metrics(tmp_path / "whole")
    assert columns["iteration"].tolist() == [0, 1, 2]
    assert np.isnan(columns["loss/total"][0])  # nothing is learned in the first
    assert np.isfinite(columns["loss/total"][1:]).all()


def test_what_a_callback_raises_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    def fail(iteration: int, metrics: Mapping[str, float]) -> None:
        raise KeyError("typo")

    with pytest.raises(KeyError, match="typo"):
        alphazero.train(SMALL, tmp_path / "run", callback=fail, quiet=True)
    assert checkpoints(tmp_path / "run")
    with pytest.raises(RunError, match="holds a run already: resume=True goes on with it"):
        alphazero.train(SMALL, tmp_path / "run", quiet=True)


def test_a_game_that_stands_beside_its_training_is_trained(tmp_path: Path) -> None:
    network = replace(SMALL.network, value_head="scalar")
    config = replace(SMALL, iterations=2, network=network, evaluation=replace(SMALL.evaluation, opponents=[], games=4))
    agent = alphazero.train(config, tmp_path / "run", game=Race(), quiet=True)
    assert agent.game.name == "race"
    again = alphazero.load_agent(tmp_path / "run")  # trusted, since its maker has named it
    assert again.think([1, 0], simulations=16).action == agent.think([1, 0], simulations=16).action == 0
    result = alphazero.match(again, games=4, simulations=16)
    assert isinstance(result, SoloResult)
    assert result.mean == 1.0  # the best there is


def test_a_game_made_with_arguments_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"such as games.othello:Othello\(side=8\)"):
        alphazero.train(SMALL, tmp_path / "run", game=Othello(side=8), quiet=True)
    with pytest.raises(ConfigError, match="neither a file nor one of the package's"):
        alphazero.train("tic_tac_two", tmp_path / "run")
    with pytest.raises(RunError, match="is not a run"):
        alphazero.read_metrics(tmp_path)


# Matches


def test_a_match_is_that_of_the_arena() -> None:
    result = alphazero.match("minimax:2", "random", game=TicTacToe(), games=20, seed=3)
    assert isinstance(result, MatchResult)
    assert result.points > 0.6  # who looks two plies ahead sees threats
    own = alphazero.match(RandomPlayer(TicTacToe(), 5), "minimax:2", game=TicTacToe(), games=20)
    assert isinstance(own, MatchResult)
    assert own.points < 0.4
    one, other = RandomPlayer(TicTacToe(), 1), RandomPlayer(TicTacToe(), 2)
    expected = play_match(TicTacToe(), one, other, games=8, seed=4)
    one, other = RandomPlayer(TicTacToe(), 1), RandomPlayer(TicTacToe(), 2)
    assert alphazero.match(one, other, game=TicTacToe(), games=8, seed=4) == expected
    with pytest.raises(ValueError, match="neither player is an agent: name the game"):
        alphazero.match("random", "random")


def test_benchmark_and_match_give_the_scripts_figures(
    agent: alphazero.Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--against", "minimax:1", "--games", "6", "--simulations", "8", "--seed", "2"]
    file = tmp_path / "found.json"
    source = str(ROOT / "games/data/connect_four/agent.onnx")
    monkeypatch.setattr(sys, "argv", ["benchmark.py", source, *options, "--json", str(file)])
    assert script.main() == 0
    expected = json.loads(file.read_text())["matches"]
    found = alphazero.benchmark("connect_four", against=["minimax:1"], games=6, simulations=8, seed=2, quiet=True)
    for one, other in zip(found["matches"], expected, strict=True):
        kept = one.keys() - {"seconds_a_move"}
        assert {key: one[key] for key in kept} == {key: other[key] for key in kept}
    result = alphazero.match(agent, "minimax:1", games=6, simulations=8, seed=2)
    assert result.points == expected[0]["points"]
