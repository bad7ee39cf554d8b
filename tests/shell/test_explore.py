"""The explorer's commands, with and without a solver."""

from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

from alphazero.arena.players import SearchBudget
from alphazero.config import SearchConfig
from alphazero.game.record import Record
from alphazero.mcts.search import search
from alphazero.runs.agents import Agent
from alphazero.shell.explore import ExploreShell
from alphazero.shell.explorer import Explorer
from games.tic_tac_toe import TicTacToe
from tests.evaluators import ScrambledEvaluator
from tests.shell.both_shells import SolvedTicTacToe, shells


def test_the_explorer_asks_the_solver() -> None:
    _, explore, printed = shells(SolvedTicTacToe(), "a3")
    explore.onecmd("solve")
    rows = [line.split() for line in printed.getvalue().splitlines()[1:]]
    assert rows[0] == ["b2", "+0", "draw"]
    assert len(rows) == 8
    assert {row[-1] for row in rows[1:]} == {"loss"}


def test_several_moves_are_played_all_or_none() -> None:
    _, explore, printed = shells(TicTacToe(), "b2")
    explore.onecmd("do a3 b2 c1")
    assert "b2 is not legal here" in printed.getvalue()
    assert explore.record.moves == "b2"
    explore.onecmd("do a3 c1")
    assert explore.record.moves == "b2 a3 c1"


@pytest.mark.parametrize("moves", ["", "b2", "a3 b2", "b2 a3 c1"])
@pytest.mark.parametrize("simulations", [6, 8, 20, 40])
def test_the_move_that_the_search_plays_is_marked_and_explained(moves: str, simulations: int) -> None:
    game, config = TicTacToe(), SearchConfig(simulations=simulations).without_noise()
    evaluator, record, printed = ScrambledEvaluator(game), Record(game, moves), io.StringIO()
    explorer = Explorer(Agent(game, evaluator, config, "scrambled"))
    console = Console(file=printed, width=200, highlight=False)
    shell = ExploreShell(explorer, record, console, budget=SearchBudget(simulations))
    shell.examine(simulations)
    found = search(evaluator, game, record.state, config, torch.Generator())
    chosen, leader = int(found.action[0]), int(found.policy[0].argmax())
    marked = [line.split() for line in printed.getvalue().splitlines() if line.startswith("→")]
    names = list(map(game.action_name, (chosen, leader)))
    assert [words[1] for words in marked] == [names[0]] * 2  # in the table and below
    visits = [int(found.visits[0, action]) for action in (chosen, leader)]
    said = printed.getvalue().splitlines()[-1]
    if chosen == leader:
        assert said == f"→ {names[0]} is what the search plays"
    else:
        assert visits[0] == int(found.visits.max()) > visits[1]
        assert f"the most visits, {visits[0]}; {names[1]} has more of the policy, but was dropped" in said
        assert said.endswith(f" after {visits[1]}")
