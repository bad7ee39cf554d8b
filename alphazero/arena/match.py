"""Games between players, and the strength that their results show.

All games of a match are played at once. A match of two players is made of pairs: both games of a
pair start from the same random opening, and the players change seats in between, so that a lucky
opening helps neither.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alphazero.arena.players import Player, RandomPlayer
from alphazero.config import MAX_MOVES
from alphazero.game import Box, Game, State, batch_size, concatenate, take, where
from alphazero.parallel.executor import Counter

Z95 = 1.959964  # a standard normal variable stays within +-Z95 with probability 95 %

# Openings are drawn in batches of at least this size. After this many batches in a row without a new
# one, the game is taken to have no more, and openings are used again.
OPENING_BATCH = 64
FRUITLESS_BATCHES = 8


OPENING_MOVES = 2  # random ones at most, before the players' own


class Tally(NamedTuple):
    """Games by their result, seen by the player (not the opponent)."""

    wins: int
    draws: int
    losses: int

    @property
    def games(self) -> int:
        return sum(self)

    @property
    def points(self) -> float:
        """The share of points in [0, 1]: 1 a win, 1/2 a draw. NaN without games."""
        return (self.wins + self.draws / 2) / self.games if self.games else math.nan


@dataclass(frozen=True, kw_only=True)
class MatchResult:
    """The result of a match, seen by the player (not the opponent).

    first:          the games in which the player sat in seat 0.
    second:         the games in which it sat in seat 1.
    pairs:          pairs of games from one opening, by the points they brought: 0, 1/2, 1, 3/2, 2.
    distinct_games: openings with the moves that followed, each counted once. If they are far fewer than
                    the games, the players repeat themselves, and the interval promises too much.
    seconds_a_move: mean wall-clock time of a move of the player and of the opponent; NaN without moves.
                    All games are played at once: in a single game a move may well take longer.
    cut_off:        games that went on, but ended as they had the most moves.
    """

    first: Tally
    second: Tally
    pairs: tuple[int, ...]
    distinct_games: int
    seconds_a_move: tuple[float, ...] = field(default=(math.nan, math.nan), compare=False)
    cut_off: int = 0

    @property
    def total(self) -> Tally:
        return Tally(*(first + second for first, second in zip(self.first, self.second, strict=True)))

    @property
    def points(self) -> float:
        """The share of points in [0, 1] over all games."""
        return self.total.points

    @property
    def interval(self) -> tuple[float, float]:
        """A 95 % confidence interval of `points`, for openings drawn from an unlimited number of them.

        Wilson 1927, "Probable inference, the law of succession, and statistical inference",
        equation 5: the p with |p_0 - p| <= z sqrt(p (1 - p) / n). It departs from Wilson twice:

        - Draws bring half a point. Among all variables in [0, 1] of mean p those that are 0 or 1
          have the largest variance, p (1 - p); with draws the interval is wider than it need be,
          and it is never empty, even if all games are drawn.
        - The two games of a pair share an opening. Where that makes their points alike, n games
          are worth n / (1 + rho) independent ones, with rho the correlation within the pairs
          (Kish 1965, "Survey sampling", 5.4: the design effect of clusters of two). A negative
          rho, the usual case when an opening favours a seat, would narrow it; that is not used.
        """
        p = self.points
        variance = (self.total.wins + self.total.draws / 4) / self.total.games - p**2
        pair_means = zip((0, 0.25, 0.5, 0.75, 1), self.pairs, strict=True)
        variance_of_means = sum(count * mean**2 for mean, count in pair_means) / sum(self.pairs) - p**2
        design_effect = max(1.0, 2 * variance_of_means / variance) if variance > 0 else 1.0
        return wilson_interval(p, self.total.games / design_effect)

    def scalars(self, tag: str) -> dict[str, float]:
        """Points, their interval, and the shares of games won, drawn and lost, by tags that begin with `tag`."""
        low, high = self.interval
        scalars = {f"{tag}/points": self.points, f"{tag}/points_low": low, f"{tag}/points_high": high}
        for part, tally in (("", self.total), ("_first", self.first), ("_second", self.second)):
            for outcome, count in zip(("win", "draw", "loss"), tally, strict=True):
                scalars[f"{tag}/{outcome}{part}"] = count / max(1, tally.games)
        return scalars

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.points:.1%} of the points (95 % interval {low:.1%} to {high:.1%}): "
            f"{self.total.wins} won, {self.total.draws} drawn, {self.total.losses} lost, "
            f"{self.distinct_games} distinct games of {self.total.games}{_said(self.cut_off)}"
        )


@dataclass(frozen=True, kw_only=True)
class SoloResult:
    """The result of games for one player.

    rewards:        the sum of each game's rewards, without discount. The same seed gives every player the
                    same starts, in the same order.
    distinct_games: starts with the moves that followed, each counted once.
    metrics:        the game's own figures of each game at its end (`Game.metrics`), by name.
    seconds_a_move: mean wall-clock time of a move; NaN without moves.
    cut_off:        games that went on, but ended as they had the most moves; their `metrics` are NaN.
    """

    rewards: tuple[float, ...]
    distinct_games: int
    metrics: dict[str, tuple[float, ...]] = field(default_factory=dict)
    seconds_a_move: float = field(default=math.nan, compare=False)
    cut_off: int = 0

    @property
    def mean(self) -> float:
        return sum(self.rewards) / len(self.rewards)

    points = mean  # where a match has its share of the points

    @property
    def interval(self) -> tuple[float, float]:
        """A 95 % confidence interval of the mean, mean +- z s / sqrt(n): the central limit theorem.

        Too narrow below some 30 games, or if single games earn most of it; NaN for one game.
        """
        games = len(self.rewards)
        if games < 2:
            return math.nan, math.nan
        deviation = math.sqrt(sum((reward - self.mean) ** 2 for reward in self.rewards) / (games - 1))
        margin = Z95 * deviation / math.sqrt(games)
        return self.mean - margin, self.mean + margin

    def scalars(self, tag: str) -> dict[str, float]:
        """The mean reward, its interval, each metric's median and 95th percentile, by tags that begin with `tag`."""
        low, high = self.interval
        scalars = {f"{tag}/points": self.mean, f"{tag}/points_low": low, f"{tag}/points_high": high}
        for name, of_games in self.metrics.items():
            found = np.nanquantile(of_games, (0.5, 0.95)).tolist()
            scalars[f"{tag}/{name}_median"], scalars[f"{tag}/{name}_95"] = found
        return scalars

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"a reward of {self.mean:.3g} a game (95 % interval {low:.3g} to {high:.3g}), "
            f"{self.distinct_games} distinct games of {len(self.rewards)}{_said(self.cut_off)}"
        )


def _said(cut_off: int) -> str:
    return f", {cut_off} of them cut off" if cut_off else ""


def wilson_interval(share: float, trials: float) -> tuple[float, float]:
    """Wilson's 95 % score interval for a share of `trials`, which may be fractional; Wilson 1927, equation 5."""
    z2 = Z95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    margin = Z95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return max(0.0, centre - margin), min(1.0, centre + margin)


def play_match(
    game: Game,
    player: Player,
    opponent: Player,
    *,
    games: int,
    seed: int,
    opening_plies: int = OPENING_MOVES,
    max_moves: int = MAX_MOVES,
    progress: Counter = lambda _: None,
) -> MatchResult:
    """Plays `games` games between the two, half of them with the seats changed.

    The openings depend on `seed` only: 0 to `opening_plies` random plies each, never finished and
    all different as far as the game has so many. Rewards count from the end of the opening, and
    one player's gain is the other's loss; a game is won with more than 0. After `max_moves` from there it ends, and
    the rewards so far count: without any it is drawn. `progress` is called with the number of moves that have just been
    made, and may raise to end all games.
    """
    if game.num_players != 2:
        raise ValueError(f"{game.name} is a game for one; use play_alone")
    if games < 2 or games % 2:
        raise ValueError(f"a match is made of pairs of games: games must be even and at least 2, not {games}")
    if opening_plies < 0:
        raise ValueError(f"opening_plies must be at least 0, not {opening_plies}")
    pairs = games // 2
    openings = _openings(game, pairs, seed, opening_plies)
    seat = torch.arange(2).repeat_interleave(pairs)  # the player's
    starts = concatenate((openings, openings))
    played = _play_out(game, starts, (player, opponent), seat, max_moves, progress)
    score = played.score
    result = torch.where(seat == 0, score, -score).sign().to(torch.int64).view(2, pairs)
    of_pairs = tuple((result.sum(0) + 2).bincount(minlength=5).tolist())
    first, second = (Tally(*(int((row == sign).sum()) for sign in (1, 0, -1))) for row in result)
    return MatchResult(
        first=first, second=second, pairs=of_pairs, distinct_games=played.distinct, seconds_a_move=played.pace,
        cut_off=played.cut_off,
    )  # fmt: skip


def play_alone(
    game: Game,
    player: Player,
    *,
    games: int,
    seed: int,
    max_moves: int = MAX_MOVES,
    progress: Counter = lambda _: None,
) -> SoloResult:
    """Plays a game for one, from starts that depend on `seed` only; `max_moves` and `progress` as in `play_match`."""
    if game.num_players != 1:
        raise ValueError(f"{game.name} is a game for {game.num_players}; use play_match")
    if games < 1:
        raise ValueError(f"games must be at least 1, not {games}")
    starts = game.initial(games, generator=torch.Generator().manual_seed(seed))
    seats = torch.zeros(games, dtype=torch.int64)
    played = _play_out(game, starts, (player,), seats, max_moves, progress)
    figures = {name: tuple(of_games.tolist()) for name, of_games in played.metrics.items()}
    return SoloResult(
        rewards=tuple(played.score.tolist()), distinct_games=played.distinct, metrics=figures,
        seconds_a_move=played.pace[0], cut_off=played.cut_off,
    )  # fmt: skip


def _openings(game: Game, count: int, seed: int, plies: int) -> State:
    """`count` unfinished states, each 0 to `plies` random plies into a game; see `play_match`."""
    generator = torch.Generator().manual_seed(seed)
    mover = RandomPlayer(game, int(torch.randint(1 << 62, (), generator=generator)))
    found: dict[int | bytes, State] = {}
    fruitless = 0
    while len(found) < count and fruitless < FRUITLESS_BATCHES:
        known = len(found)
        candidates = max(OPENING_BATCH, 2 * (count - known))
        length = torch.randint(plies + 1, (candidates,), generator=generator)
        states = game.initial(candidates, generator=generator)
        finished = torch.zeros(candidates, dtype=torch.bool)
        for ply in range(plies):
            successor, _, done = game.step(states, mover.actions(states))
            moving = ply < length
            states = where(moving, successor, states)
            finished |= moving & done
        states = take(states, ~finished)
        for row, position in enumerate(_identities(game, states)):
            found.setdefault(position, take(states, torch.tensor([row])))
        fruitless = fruitless + 1 if len(found) == known else 0
    if not found:
        raise ValueError(f"{game.name}: no opening of 0 to {plies} random plies leaves a game to play")
    chosen = concatenate(list(found.values()))
    return take(chosen, torch.arange(count) % len(found))


def _identities(game: Game, states: State) -> list[int | bytes]:
    """An identity of each position: its key, or the bytes of its fields in a game without keys."""
    if game.has_key:
        return game.key(states).tolist()
    fields = [field.flatten(1) if field.dim() > 1 else field[:, None] for field in states]
    rows = torch.cat([field.contiguous().view(torch.uint8) for field in fields], 1)
    return [row.tobytes() for row in rows.numpy()]


class _Played(NamedTuple):
    """G games.

    score:    [G] float64, the rewards of seat 0 less those of seat 1.
    distinct: the number of distinct games.
    pace:     each player's mean time of a move, NaN without moves.
    metrics:  the game's own figures of the ends, [G] float64 each; NaN where there was none.
    cut_off:  games that had the most moves.
    """

    score: Tensor
    distinct: int
    pace: tuple[float, ...]
    metrics: dict[str, Tensor]
    cut_off: int


def _play_out(
    game: Game, states: State, players: Sequence[Player], seat: Tensor, max_moves: int, progress: Counter
) -> _Played:
    """Plays G unfinished states to their ends, `players[0]` in seat `seat` [G], the other opposite."""
    records: list[list[int | float | bytes]] = [[position] for position in _identities(game, states)]
    score = torch.zeros(len(records), dtype=torch.float64)
    metrics: dict[str, Tensor] = {}
    running = torch.arange(len(records))  # which game each row of `states` belongs to
    seconds, moves = [0.0] * len(players), [0] * len(players)
    for _ in range(max_moves):
        if not len(running):
            break
        seat_to_move = game.to_play(states)
        mover = (seat_to_move != seat[running]).to(torch.int64)  # an index into `players`
        turns = [(mover == number).nonzero()[:, 0] for number in range(len(players))]
        answers = []
        for number, turn in enumerate(turns):
            if len(turn):
                started = time.perf_counter()
                answers.append(players[number].actions(take(states, turn)))
                seconds[number] += time.perf_counter() - started
                moves[number] += len(turn)
                _check(game, players[number], take(states, turn), answers[-1])
        actions = torch.cat(answers)[torch.cat(turns).argsort()]
        for number, action in zip(running.tolist(), actions.view(len(running), -1).tolist(), strict=True):
            records[number].extend(action)
        states, reward, done = game.step(states, actions)
        score[running] += torch.where(seat_to_move == 0, reward, -reward)
        if done.any():
            for name, metric in game.metrics(take(states, done)).items():
                metrics.setdefault(name, torch.full_like(score, math.nan))[running[done]] = metric.double()
        progress(len(running))
        states, running = take(states, ~done), running[~done]
    pace = tuple(total / count if count else math.nan for total, count in zip(seconds, moves, strict=True))
    return _Played(score, len(set(map(tuple, records))), pace, metrics, len(running))


def _check(game: Game, player: Player, states: State, actions: Tensor) -> None:
    """ValueError if one of the player's actions in M unfinished states cannot be played."""
    inner, dtype = game.actions.form()
    shape = (batch_size(states), *inner)
    if actions.shape != shape or actions.dtype != dtype:
        raise ValueError(
            f"player {player.name} answered {shape[0]} states of {game.name} with {list(actions.shape)} "
            f"{actions.dtype}; expected {list(shape)} {dtype}"
        )
    illegal = (~game.actions.playable(actions, game.legal(states))).nonzero()[:, 0]
    if not len(illegal):
        return
    state, action = take(states, illegal[:1]), actions[illegal[0]]
    if isinstance(game.actions, Box):
        played, expected = f"{action.tolist()}", f"from {list(game.actions.low)} to {list(game.actions.high)}"
    else:
        names = {action: f"{action} ({game.action_name(action)})" for action in range(game.actions.n)}
        played = names.get(int(action), f"{int(action)}")
        expected = ", ".join(names[legal] for legal in game.legal(state)[0].nonzero()[:, 0].tolist())
    raise ValueError(
        f"player {player.name} played the illegal action {played} at\n{game.render(state)}\nlegal: {expected}"
    )
