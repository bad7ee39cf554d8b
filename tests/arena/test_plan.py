"""A benchmark's plan: its matches, and the checkpoints on its curve."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from alphazero.arena.plan import default_opponents, plan, spread
from alphazero.arena.players import SearchBudget
from alphazero.game import Discrete, Transition
from games.tic_tac_toe import TicTacToe, TicTacToeState
from tests.small_benchmark import FAST, Listener
from tests.stubs import Mine

pytestmark = pytest.mark.usefixtures("quick")


def test_by_default_an_agent_meets_players_of_all_kinds(trained: Path) -> None:
    benchmark = plan(trained / "agent.onnx", Listener(), games=200, budget=SearchBudget(600), seed=1)
    assert [match.title for match in benchmark.matches] == [
        f"{player} against {opponent}"
        for opponent in ("random", "minimax:1", "minimax:3", "minimax:5", "mcts:1000")
        for player in ("agent:600", "network")
    ]
    assert {match.games for match in benchmark.matches} == {200}
    assert benchmark.curve == benchmark.position_tests == benchmark.players == []


def test_a_large_game_meets_a_minimax_that_it_can_bear() -> None:
    """All moves are legal at first: of nine, 9^5 lines of play are few; of 1300, 1300 alone are."""

    class Pick(TicTacToe):
        def legal(self, state: TicTacToeState) -> Tensor:
            return torch.ones(len(state.done), self.actions.n, dtype=torch.bool)

        def step(self, state: TicTacToeState, action: Tensor) -> Transition[TicTacToeState]:
            return super().step(state, action % 9)

    assert default_opponents(TicTacToe()) == ("random", "minimax:1", "minimax:3", "minimax:5", "mcts:1000")
    for actions, deepest in ((81, 3), (1300, 1)):
        game = Pick()
        game.actions = Discrete(actions)
        assert default_opponents(game)[-2:] == (f"minimax:{deepest}", "mcts:1000")
    assert default_opponents(Mine()) == ()


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
