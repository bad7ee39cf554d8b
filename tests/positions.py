"""Positions as pictures and moves, random positions, and a random graph to play on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.game import Box, Discrete, Game, State, Transition, random_actions, where
from games.connect_four import COLUMNS, HEIGHT, ROWS, ConnectFour, ConnectFourState
from games.tic_tac_toe import TicTacToeState

CONNECT_FOUR = ConnectFour()


def board(picture: str, *, reachable: bool = True) -> ConnectFourState:
    """The connect-four position of a picture, x having moved first; unfinished."""
    rows = [line.split() for line in picture.strip().splitlines()]
    assert [len(row) for row in rows] == [COLUMNS] * ROWS
    cells = [(rows[ROWS - 1 - r][c], 1 << HEIGHT * c + r) for c in range(COLUMNS) for r in range(ROWS)]
    x, o = (sum(bit for mark, bit in cells if mark == player) for player in "xo")
    assert x.bit_count() - o.bit_count() in {0, 1} or not reachable
    turn = x.bit_count() > o.bit_count()
    mine, theirs = (o, x) if turn else (x, o)
    return ConnectFourState(
        torch.tensor([mine]), torch.tensor([theirs]), torch.tensor([turn], dtype=torch.int8), torch.tensor([False])
    )


def tic_tac_toe_board(picture: str) -> TicTacToeState:
    """The tic-tac-toe position of a picture, x having moved first; unfinished."""
    marks = picture.replace("/", "").split()
    x, o = (sum(1 << cell for cell in range(9) if marks[cell] == mark) for mark in "xo")
    turn = x.bit_count() - o.bit_count()
    mine, theirs = (o, x) if turn else (x, o)
    boards = (torch.tensor([stones], dtype=torch.int16) for stones in (mine, theirs))
    return TicTacToeState(*boards, torch.tensor([turn], dtype=torch.int8), torch.tensor([False]))


def played(moves: str) -> ConnectFourState:
    """Connect-four after moves such as "4435", columns 1 to 7; may be finished."""
    state = CONNECT_FOUR.initial(1)
    for move in moves:
        state = CONNECT_FOUR.step(state, torch.tensor([int(move) - 1])).state
    return state


def after(moves: str) -> ConnectFourState:
    """As `played`, unfinished."""
    state = played(moves)
    assert not state.done
    return state


def random_positions(game: Game, count: int, *, plies: int, seed: int) -> State:
    """Unfinished positions after 0 to `plies` random plies."""
    length = torch.randint(plies + 1, (count,), generator=torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed)
    states = game.initial(count)
    for ply in range(plies):
        successor, _, done = game.step(states, random_actions(game, states, generator))
        states = where((ply < length) & ~done, successor, states)
    return states


NODES, CHOICES, LAST = 400, 3, 300


class WebState(NamedTuple):
    """node: [B] int64; those from LAST on are finished."""

    node: Tensor


class Web(Game):
    """A random graph: from each node up to three moves to later nodes, with rewards on the moves.

    Rewards, discount and heuristic are sums of a few powers of two, so that no order of adding
    them up rounds.
    """

    name = "web"
    num_players = 2
    actions: Discrete | Box = Discrete(CHOICES)
    observation_shape = (1,)
    discount = 0.5

    def __init__(self, *, seed: int, players: int, keys: bool) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.keys = keys
        self.turn = torch.randint(players, (NODES,), generator=generator).to(torch.int8)
        self.gain = torch.randint(-2, 3, (NODES, CHOICES), generator=generator) / 4
        self.allowed = torch.rand(NODES, CHOICES, generator=generator) < 0.7
        self.allowed[:, 0] |= ~self.allowed.any(1)
        step = torch.randint(1, 30, (NODES, CHOICES), generator=generator)
        self.next = (torch.arange(NODES)[:, None] + step).clamp(max=NODES - 1)
        self.guess = torch.randint(-8, 9, (NODES,), generator=generator) / 16

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> WebState:
        return WebState(torch.zeros(batch, dtype=torch.int64))

    def to_play(self, state: WebState) -> Tensor:
        return self.turn[state.node]

    def legal(self, state: WebState) -> Tensor:
        return self.allowed[state.node]

    def step(self, state: WebState, action: Tensor) -> Transition:
        finished = state.node >= LAST
        node = torch.where(finished, state.node, self.next[state.node, action])
        reward = torch.where(finished, 0.0, self.gain[state.node, action])
        return Transition(WebState(node), reward, node >= LAST)

    def observe(self, state: WebState) -> Tensor:
        return state.node[:, None].float()

    @property
    def has_key(self) -> bool:
        return self.keys

    def key(self, state: WebState) -> Tensor:
        return state.node

    def heuristic(self, state: WebState) -> Tensor:
        return self.guess[state.node]

    def plain_score(self, node: int, action: int, depth: int) -> float:
        """Minimax as it is written on paper."""
        child = int(self.next[node, action])
        if child >= LAST:
            value = 0.0
        elif depth == 1:
            value = float(self.guess[child])
        else:
            value = max(self.plain_score(child, a, depth - 1) for a in range(CHOICES) if self.allowed[child, a])
        sign = 1 if self.turn[child] == self.turn[node] else -1
        return float(self.gain[node, action]) + self.discount * sign * value
