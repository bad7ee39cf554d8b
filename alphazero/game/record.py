"""A game as it is played: its moves from the start, and every position on the way.

As text, moves are the game's action names: one after the other where each is a single character
(`4453`), otherwise with spaces, commas or semicolons in between, as far as the names have none themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import torch

from alphazero.game.interface import Game, num_actions
from alphazero.game.messages import printable
from alphazero.game.states import State

SEPARATORS = {r"\s": " ", ",": ", ", ";": "; "}  # of moves: how each is found in a text, and how it is written


class Record:
    """One game from its start; every position is a batch of one."""

    def __init__(self, game: Game, moves: str = "") -> None:
        """Plays `moves` from the start. ValueError names the first that cannot be played.

        A game with random starts always has the same one here, so that the moves tell the whole game.
        """
        self.game = game
        self.states: list[State] = [game.initial(1, generator=torch.Generator().manual_seed(0))]
        self.actions: list[int] = []
        self.scores = [0.0]  # rewards of seat 0 less those of seat 1 until each of the states
        self.finished = False
        for number, action in enumerate(parse_moves(game, moves), start=1):
            try:
                self.play(action)
            except ValueError as error:
                raise ValueError(f"move {number} of {printable(moves)}: {error}") from error

    @property
    def state(self) -> State:
        return self.states[-1]

    @property
    def score(self) -> float:
        return self.scores[-1]

    @property
    def seat(self) -> int:
        """The player to move."""
        return int(self.game.to_play(self.state)[0])

    @property
    def moves(self) -> str:
        return format_moves(self.game, self.actions)

    def legal(self) -> list[int]:
        """The actions that can be played; none once the game is over."""
        return [] if self.finished else self.game.legal(self.state)[0].nonzero()[:, 0].tolist()

    def play(self, action: int) -> None:
        """ValueError, which says what is legal, if the action is not."""
        if self.finished:
            raise ValueError("the game is over")
        legal = self.legal()
        if action not in legal:
            names = ", ".join(map(self.game.action_name, legal))
            raise ValueError(f"{self.game.action_name(action)} is not legal here; legal: {names}")
        state, reward, done = self.game.step(self.state, torch.tensor([action]))
        self.scores.append(self.score + (float(reward) if self.seat == 0 else -float(reward)))
        self.finished = bool(done)
        self.states.append(state)
        self.actions.append(action)

    def undo(self, moves: int = 1) -> None:
        """Takes the last moves back. ValueError, and nothing is taken back, if there are fewer."""
        if not self.actions:
            raise ValueError("there is no move to take back")
        if moves > len(self.actions):
            raise ValueError(f"only {len(self.actions)} can be taken back, not {moves}")
        for of_plies in (self.actions, self.states, self.scores):
            del of_plies[-moves:]
        self.finished = False

    def mirrored(self, number: int = 0) -> Record:
        """The same game under the game's symmetry of this number.

        ValueError if it has none, or if the start is not its own mirror image, as a random one seldom is: then no moves
        from there lead to the image.
        """
        symmetries = self.game.symmetries()
        if not symmetries:
            raise ValueError(f"{self.game.name} has no symmetry")
        symmetry, start = symmetries[number], self.game.observe(self.states[0])
        if not torch.equal(symmetry.observation(start), start):
            raise ValueError(f"the start of this game is not its own mirror image by symmetry {number + 1}")
        return Record(self.game, format_moves(self.game, map(symmetry.actions.index, self.actions)))


def parse_moves(game: Game, text: str) -> list[int]:
    """The actions that the text names. ValueError with what is expected otherwise."""
    pattern, between = separators(game)
    parts = re.split(pattern, text)
    if not between:
        parts = list("".join(parts))
    return [game.parse_action(part) for part in map(str.strip, parts) if part]


def format_moves(game: Game, actions: Iterable[int]) -> str:
    return separators(game)[1].join(map(game.action_name, actions))


@lru_cache(maxsize=8)
def separators(game: Game) -> tuple[str, str]:
    """The pattern of what stands between moves as text, and how it is written.

    ValueError if the names of actions leave nothing for it.
    """
    names = [game.action_name(action) for action in range(num_actions(game))]
    free = [found for found in SEPARATORS if not any(re.search(found, name) for name in names)]
    if not free:
        raise ValueError(f"names of actions of {game.name} have spaces, commas and semicolons, so none can part moves")
    single = all(len(name) == 1 for name in names)
    return f"[\\n{''.join(free)}]+", "" if single else SEPARATORS[free[0]]
