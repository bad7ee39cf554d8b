"""Plays the project's board games beside OpenSpiel's, move by move, and says whether the rules agree.

    benchmarks/rules.py [--games N] [--seed N]

Random games of Othello, Hex and Breakthrough, on several boards. At every move the legal moves by name, the player to
move, the end and the result are compared; by the compiled rules and by those in tensors. The exit code is 1 if
anything differs.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import numpy as np
import torch
from rich.table import Table

from alphazero.game import Game, State, load_game, named_fields, num_actions, take


@dataclass(frozen=True)
class Pair:
    """A game of the project and the same game of OpenSpiel.

    translated: OpenSpiel's name of a move -> the project's.
    """

    path: str
    peer: str
    translated: Callable[[str], str]


def same_name(name: str) -> str:
    return name


def turned_over(rows: int) -> Callable[[str], str]:
    """Breakthrough's names: there the player at the top moves first, and an asterisk marks captures."""

    def translated(name: str) -> str:
        return re.sub(r"\d+", lambda row: str(rows + 1 - int(row[0])), name.rstrip("*"))

    return translated


def breakthrough(rows: int, columns: int) -> Pair:
    path = f"games.breakthrough:Breakthrough(rows={rows}, columns={columns})"
    return Pair(path, f"breakthrough(rows={rows},columns={columns})", turned_over(rows))


def hex_board(side: int) -> Pair:
    return Pair(f"games.hex:Hex(side={side})", f"hex(board_size={side})", same_name)


PAIRS = (
    Pair("games.othello:Othello(side=8)", "othello", same_name),
    *map(hex_board, (3, 5, 11)),
    *(breakthrough(rows, columns) for rows, columns in ((6, 6), (8, 8), (5, 4))),
)


def play_beside(pair: Pair, *, games: int, seed: int) -> int:
    """Plays random games by both; returns how many moves they were. AssertionError tells the first difference."""
    import pyspiel

    game = load_game(pair.path)
    peer = pyspiel.load_game(pair.peer)
    numbers = _numbers(game, peer, pair.translated)
    generator = torch.Generator().manual_seed(seed)
    state, others, moves = game.initial(games), [peer.new_initial_state() for _ in range(games)], 0
    while others:
        legal = game.legal(state)
        assert torch.equal(legal, tensor_rules(game, "legal", state)), "the compiled `legal` is another"
        choices = [other.legal_actions() for other in others]
        expected = torch.zeros_like(legal)
        rows = torch.arange(len(others)).repeat_interleave(torch.tensor([len(choice) for choice in choices]))
        expected[rows, numbers[np.concatenate(choices)]] = True
        _agree(game, state, "legal moves", legal, expected)
        movers = torch.tensor([other.current_player() for other in others])
        _agree(game, state, "the player to move", game.to_play(state), movers)
        # Both play an action that is drawn from the peer's list.
        drawn = torch.rand(len(others), generator=generator).tolist()
        picked = [choice[int(share * len(choice))] for choice, share in zip(choices, drawn, strict=True)]
        for other, action in zip(others, picked, strict=True):
            other.apply_action(action)
        actions = torch.from_numpy(numbers[picked])
        transition, in_tensors = game.step(state, actions), tensor_rules(game, "step", state, actions)
        for name, field in named_fields(transition).items():
            assert torch.equal(field, named_fields(in_tensors)[name]), f"the compiled `step` gives another {name}"
        done = torch.tensor([other.is_terminal() for other in others])
        returns = [
            other.returns()[mover] if over else 0.0
            for other, mover, over in zip(others, movers.tolist(), done.tolist(), strict=True)
        ]
        _agree(game, state, "the end", transition.done, done)
        _agree(game, state, "the reward", transition.reward, torch.tensor(returns))
        moves += len(others)
        state = take(transition.state, ~done)
        others = [other for other, over in zip(others, done.tolist(), strict=True) if not over]
    return moves


def tensor_rules(game: Game, rule: str, *arguments: Any) -> Any:
    """The answer of the rules in tensors, which the games' modules have beside the compiled ones."""
    rules = sys.modules[type(game).__module__]
    return getattr(rules, f"{rule}_in_tensors", getattr(game, rule))(*arguments)


def _numbers(game: Game, peer: Any, translated: Callable[[str], str]) -> Any:
    """[the peer's actions] int64, the project's number of each; -1 for those that it has none for."""
    names = {game.action_name(action): action for action in range(num_actions(game))}
    found = np.full(peer.num_distinct_actions(), -1)
    for player in (0, 1):
        state = peer.new_initial_state()
        for action in range(len(found)):
            name = translated(state.action_to_string(player, action))
            if name in names:
                found[action] = names[name]
    return found


def _agree(game: Game, state: State, what: str, given: torch.Tensor, expected: torch.Tensor) -> None:
    same = (given == expected).view(len(given), -1).all(1)
    if not bool(same.all()):
        index = int((~same).to(torch.int8).argmax())
        board = game.render(take(state, slice(index, index + 1)))
        raise AssertionError(f"{what}: {given[index].tolist()} where OpenSpiel has {expected[index].tolist()}\n{board}")


def main() -> int:
    return cli.run(compare)


def compare() -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--games", type=cli.whole(1, 1_000_000), default=10_000, help="random games of each (default: 10000)"
    )
    parser.add_argument("--seed", type=cli.seed, default=0, help="seed of the random games (default: 0)")
    arguments = parser.parse_args()
    console, failed = cli.console(), 0
    table = Table("game", "OpenSpiel", "games", "moves", "seconds", "", box=None)
    for pair in PAIRS:
        began = time.perf_counter()
        try:
            moves, said = f"{play_beside(pair, games=arguments.games, seed=arguments.seed):,}", "agree"
        except AssertionError as error:
            moves, said, failed = "", str(error), 1
        seconds = f"{time.perf_counter() - began:.0f}"
        table.add_row(load_game(pair.path).name, pair.peer, f"{arguments.games:,}", moves, seconds, said)
    console.print(table)
    return failed


if __name__ == "__main__":
    sys.exit(main())
