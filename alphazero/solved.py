"""Solved positions: how often a player gives away what perfect play would keep.

A file has a column `moves`, the actions from the start as a string of the game's one-character
action names, and a column `score_NAME` for each action: the exact score of playing it, for the
player to move; 0 a draw, positive a win, negative a loss, empty where it is illegal.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.game import Game, State, concatenate, num_actions
from alphazero.players import Player
from alphazero.record import Record

CHUNK = 512  # positions that a player is asked about at once


class SolvedPositions(NamedTuple):
    """P positions and what every action is worth in them.

    states:   fields [P, ...].
    outcomes: [P, A] int8, 1 win, 0 draw, -1 loss under perfect play, for the player to move; -2 illegal.
    plies:    [P] int64, moves from the start.
    """

    states: State
    outcomes: Tensor
    plies: Tensor


class ErrorRate(NamedTuple):
    """Mistakes in P positions: choices whose outcome is worse than the best."""

    positions: int
    mistakes: int

    @property
    def rate(self) -> float:
        return self.mistakes / self.positions


def load_positions(path: Path, game: Game) -> SolvedPositions:
    """Reads a file of solved positions. ValueError names the line that is wrong."""
    names = [game.action_name(action) for action in range(num_actions(game))]
    states, outcomes, plies = [], [], []
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if missing := {"moves", *(f"score_{name}" for name in names)} - set(rows.fieldnames or ()):
            raise ValueError(f"{path}: the column {min(missing)} is missing, so these are no positions of {game.name}")
        for row in rows:
            try:
                record = Record(game, row["moves"])
                if record.finished:
                    raise ValueError(f"the game is over after {row['moves']}")
                scores = [row[f"score_{name}"] for name in names]
                outcome = [-2 if score == "" else (int(score) > 0) - (int(score) < 0) for score in scores]
            except ValueError as error:
                raise ValueError(f"{path}, line {rows.line_num}: {error}") from error
            states.append(record.state)
            outcomes.append(outcome)
            plies.append(len(record.actions))
    if not states:
        raise ValueError(f"{path} holds no positions")
    return SolvedPositions(concatenate(states), torch.tensor(outcomes, dtype=torch.int8), torch.tensor(plies))


def mistakes(player: Player, positions: SolvedPositions) -> Tensor:
    """[P] bool, where the player's choice turns a win into a draw or loss, or a draw into a loss."""
    chosen = []
    for start in range(0, len(positions.plies), CHUNK):
        part = type(positions.states)(*(field[start : start + CHUNK] for field in positions.states))
        chosen.append(player.actions(part))
    outcome = positions.outcomes.gather(1, torch.cat(chosen)[:, None])[:, 0]
    return outcome < positions.outcomes.amax(1)


def error_rate(player: Player, positions: SolvedPositions) -> ErrorRate:
    return ErrorRate(len(positions.plies), int(mistakes(player, positions).sum()))
