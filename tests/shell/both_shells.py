"""Both shells within this process, and a game with a solver, which the tests of the shells share."""

from __future__ import annotations

import io

from rich.console import Console
from torch import Tensor

from alphazero.arena.minimax import minimax
from alphazero.arena.players import SearchBudget
from alphazero.config import SearchConfig
from alphazero.game import Game
from alphazero.game.record import Record
from alphazero.mcts.evaluator import UniformEvaluator
from alphazero.runs.agents import Agent
from alphazero.shell.explore import ExploreShell
from alphazero.shell.explorer import Explorer
from alphazero.shell.play import PlayShell
from games.tic_tac_toe import TicTacToe, TicTacToeState


class SolvedTicTacToe(TicTacToe):
    """Minimax to the end is perfect; the sooner a win, the larger the score."""

    def solve(self, state: TicTacToeState) -> Tensor:
        return minimax(self, state, depth=9).float()


def shells(game: Game, moves: str = "") -> tuple[PlayShell, ExploreShell, io.StringIO]:
    """Both shells after the moves, and their output. The second player is minimax of depth 1."""
    agent = Agent(game, UniformEvaluator(game), SearchConfig().without_noise(), "uniform")
    printed = io.StringIO()
    console = Console(file=printed, width=100, highlight=False)
    explorer, budget = Explorer(agent), SearchBudget(8)
    seats = ["human", "minimax:1"][: game.num_players]
    play = PlayShell(explorer, Record(game, moves), console, seats=seats, budget=budget, seed=1)
    return play, ExploreShell(explorer, Record(game, moves), console, budget=budget), printed
