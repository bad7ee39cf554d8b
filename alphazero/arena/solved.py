"""Solved positions: how often a player makes mistakes against perfect play, and where a game turned.

A file of solved positions has a column `moves`, the actions from the start as `alphazero.game.record` writes
them (blank: the start itself), and a column `score_NAME` for each action: the exact score of playing it, for
the player to move; 0 a draw, positive a win, negative a loss, empty where it is illegal. A file that has only
the column `moves` is solved as it is read, if the game has a solver.

A *mistake* is an action whose outcome under perfect play (win, draw, loss) is worse than the best action's. A *perfect
move* is also among the soonest wins, or the latest losses.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.arena.match import wilson_interval
from alphazero.arena.players import Player, ValuingPlayer
from alphazero.game import Game, State, batch_size, concatenate, num_actions, take
from alphazero.game.messages import printable, unquoted
from alphazero.game.record import Record
from alphazero.parallel.executor import Counter
from alphazero.runs.files import read_file

# Positions that a player or a solver answers at once. An agent of 64 simulations takes a tenth longer than
# with 512 at once; in return there is progress to show.
CHUNK = 32
PLIES = 7  # of each group of positions by ply
LARGEST = 1 << 28  # bytes of a file
FLOAT32 = torch.finfo(torch.float32).max


class SolvedPositions(NamedTuple):
    """P unfinished positions and the score of every action in them.

    states: fields [P, ...].
    scores: [P, A] float32, exact, for the player to move, as `Game.solve` returns them; -inf illegal.
    moves:  the moves from the start to each.
    plies:  [P] int64, their number.
    """

    states: State
    scores: Tensor
    moves: tuple[str, ...]
    plies: Tensor

    @property
    def outcomes(self) -> Tensor:
        """[P, A] int8, 1 win, 0 draw, -1 loss under perfect play, for the player to move; -2 illegal."""
        return torch.where(self.scores == -torch.inf, -2, self.scores.sign()).to(torch.int8)


class ErrorRate(NamedTuple):
    """The number of mistakes in some positions."""

    positions: int
    mistakes: int

    @property
    def rate(self) -> float:
        """NaN without positions."""
        return self.mistakes / self.positions if self.positions else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the rate, for positions drawn from an unlimited number like them."""
        return wilson_interval(self.rate, self.positions) if self.positions else (0.0, 1.0)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.rate:.2%} mistakes (95 % interval {low:.2%} to {high:.2%})"


class ValueFit(NamedTuple):
    """How well values of some positions are those of perfect play: 1 for a win of the player to move, 0, or -1.

    loss:  the mean squared error.
    wrong: the number of wins and losses, of which there are `decided`, whose value has not their sign.
    """

    loss: float
    wrong: int
    decided: int

    @property
    def wrong_rate(self) -> float:
        """NaN without wins and losses."""
        return self.wrong / self.decided if self.decided else math.nan


class PositionResult(NamedTuple):
    """A player's answers to solved positions.

    mistakes: the error rate in each of the `groups`.
    perfect:  the number of perfect moves.
    value:    None for a player without values.
    """

    mistakes: dict[str, ErrorRate]
    perfect: int
    value: ValueFit | None

    @property
    def perfect_rate(self) -> float:
        """The share of perfect moves."""
        return self.perfect / self.mistakes["all"].positions

    def __str__(self) -> str:
        return str(self.mistakes["all"])


def load_positions(path: Path, game: Game, *, progress: Counter = lambda _: None) -> SolvedPositions:
    """Reads a file of solved positions, or solves positions that have no scores.

    Solving takes a while: after each chunk `progress` is called with its size, and may raise to end it.
    ValueError names the line that is wrong.
    """
    names = [game.action_name(action) for action in range(num_actions(game))]
    header, rows = _read(path)
    unsolved = header == ["moves"]
    if not unsolved and (missing := {"moves", *(f"score_{name}" for name in names)} - set(header)):
        raise ValueError(f"{path}: the column {min(missing)} is missing, so these are no positions of {game.name}")
    records, scores = [], []
    for line, row in rows:
        try:
            if len(row) != len(header):
                raise ValueError(f"{len(row)} fields, expected {len(header)}; quote moves that have commas in between")
            fields = dict(zip(header, row, strict=True))
            records.append(record := Record(game, fields["moves"]))
            if record.finished:
                raise ValueError(f"the game is over after {unquoted(fields['moves'])}")
            if not unsolved:
                legal = game.legal(record.state)[0].tolist()
                scores.append([_parse_score(n, fields[f"score_{n}"], may) for n, may in zip(names, legal, strict=True)])
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}") from error
    if not records:
        raise ValueError(f"{path} holds no positions")
    states = concatenate([record.state for record in records])
    try:
        solved = _in_chunks(game.solve, states, progress) if unsolved else torch.tensor(scores, dtype=torch.float32)
    except ValueError as error:
        raise ValueError(f"{path} has no scores, and {error}") from error
    plies = torch.tensor([len(record.actions) for record in records])
    return SolvedPositions(states, solved, tuple(record.moves for record in records), plies)


def groups(positions: SolvedPositions) -> dict[str, Tensor]:
    """Masks [P] bool of the positions by the stage of the game and by difficulty; `all` is every position.

    - `beginning` up to ply 14, `middle` from 15 to 28, `end` later: the bounds of P. Pons' sets of connect-four
      positions (http://blog.gamesolver.org/solving-connect-four/02-test-protocol/).
    - By the share of the legal actions that are mistakes: `easy` up to 1/3, `medium` up to 2/3, `hard` above.
      This is not Pons' difficulty, which is the number of moves a solver has to look ahead. A position in which
      no mistake is possible is in none of the three groups.
    - By ply, PLIES to a group: `0-6`, `7-13`, and so on.
    """
    outcomes, plies = positions.outcomes, positions.plies
    legal = outcomes > -2
    mistaken = legal & (outcomes < outcomes.amax(1, keepdim=True))
    actions, thirds = legal.sum(1), 3 * mistaken.sum(1)
    return {
        "all": torch.ones_like(plies, dtype=torch.bool),
        "beginning": plies <= 14,
        "middle": (plies > 14) & (plies <= 28),
        "end": plies > 28,
        "easy": (thirds > 0) & (thirds <= actions),
        "medium": (thirds > actions) & (thirds <= 2 * actions),
        "hard": thirds > 2 * actions,
        **{
            f"{first}-{first + PLIES - 1}": (plies >= first) & (plies < first + PLIES)
            for first in range(0, int(plies.max()) + 1, PLIES)
        },
    }


def mistakes(player: Player, positions: SolvedPositions, *, progress: Counter = lambda _: None) -> Tensor:
    """[P] bool, where the player's choice turns a win into a draw or loss, or a draw into a loss.

    After each chunk of positions `progress` is called with its size, and may raise to end it.
    """
    return _mistaken(positions, _in_chunks(player.actions, positions.states, progress))


def answered(player: Player, positions: SolvedPositions, *, progress: Counter = lambda _: None) -> PositionResult:
    """The player's mistakes, perfect moves and values; `progress` as in `mistakes`."""
    values: list[Tensor] = []

    def actions(states: State) -> Tensor:
        if not isinstance(player, ValuingPlayer):
            return player.actions(states)
        answers = player.answers(states)
        values.extend([] if answers.value is None else [answers.value])
        return answers.actions

    chosen = _in_chunks(actions, positions.states, progress)
    mistaken = _mistaken(positions, chosen)
    rates = {name: ErrorRate(int(group.sum()), int(mistaken[group].sum())) for name, group in groups(positions).items()}
    perfect = _of(positions.scores, chosen) == positions.scores.amax(1)
    value = value_fit(torch.cat(values), positions) if values else None
    return PositionResult(rates, int(perfect.sum()), value)


def value_fit(value: Tensor, positions: SolvedPositions) -> ValueFit:
    """How well these values [P], for the player to move, are those of perfect play."""
    outcome = positions.outcomes.amax(1)
    wrong = (outcome != 0) & (value.sign() != outcome)
    loss = (value.double() - outcome).square().mean().item()
    return ValueFit(loss, int(wrong.sum()), int((outcome != 0).sum()))


def _mistaken(positions: SolvedPositions, chosen: Tensor) -> Tensor:
    """[P] bool, whether these actions [P] are mistakes."""
    return _of(positions.outcomes, chosen) < positions.outcomes.amax(1)


def _of(table: Tensor, chosen: Tensor) -> Tensor:
    """[P], the entry of each row [A] for the action that was chosen."""
    return table.gather(1, chosen[:, None])[:, 0]


class ReviewedMove(NamedTuple):
    """A move of a game beside perfect play; scores as `Game.solve` returns them, for the seat that moved.

    score:      the action's.
    best_score: the best action's.
    best:       the actions with that score: the soonest wins, draws, or the latest losses.
    """

    seat: int
    action: int
    score: float
    best_score: float
    best: tuple[int, ...]

    @property
    def before(self) -> int:
        """The outcome of perfect play for the seat before its move: 1 win, 0 draw, -1 loss."""
        return (self.best_score > 0) - (self.best_score < 0)

    @property
    def after(self) -> int:
        """The same after its move."""
        return (self.score > 0) - (self.score < 0)

    @property
    def mistake(self) -> bool:
        return self.after < self.before


def review(record: Record) -> list[ReviewedMove]:
    """Reviews every move of a game, finished or not. ValueError if the game has no solver."""
    game, states = record.game, concatenate([record.game.initial(0), *record.states[:-1]])
    moves = zip(game.to_play(states).tolist(), record.actions, game.solve(states).tolist(), strict=True)
    return [
        ReviewedMove(seat, action, row[action], max(row), tuple(a for a, score in enumerate(row) if score == max(row)))
        for seat, action, row in moves
    ]


def line_count(path: Path) -> int:
    """The lines of a file of solved positions. ValueError if it cannot be one."""
    try:
        return len(read_file(path, LARGEST).splitlines())
    except ValueError as error:
        raise ValueError(f"{path} holds no positions: {error}") from error


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and every other row with its line number. ValueError if the file is no table.

    Blank lines are left out, except in a file of one column, where they are rows.
    """
    try:
        rows = csv.reader(io.StringIO(read_file(path, LARGEST).decode(), newline=""))
        header = next(rows, [])
        return header, [(rows.line_num, row or [""]) for row in rows if row or len(header) == 1]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} is no file of comma-separated values in UTF-8: {error}") from error


def _parse_score(name: str, text: str, legal: bool) -> float:
    """The score of the action with this name; -inf where it is illegal.

    ValueError if the score is no number, or if it is not an illegal action that lacks one.
    """
    if bool(text) != legal:
        given = unquoted(text) or "empty"
        raise ValueError(f"score_{name} is {given}, but {name} {'can' if legal else 'cannot'} be played here")
    if not legal:
        return -math.inf
    score = math.nan
    with suppress(ValueError):
        score = float(text)
    if not math.isfinite(score):
        raise ValueError(f"score_{name} is no number: {printable(text)}")
    if abs(score) > FLOAT32:
        raise ValueError(f"score_{name} is {unquoted(text)}, beyond {FLOAT32:g}, the largest float32")
    return score


def _in_chunks(answer: Callable[[State], Tensor], states: State, progress: Counter) -> Tensor:
    """`answer` of P states, CHUNK at a time; `progress` is called with the size of each chunk."""
    answers = []
    for start in range(0, batch_size(states), CHUNK):
        answers.append(answer(take(states, slice(start, start + CHUNK))))
        progress(len(answers[-1]))
    return torch.cat(answers)
