"""How strong an agent is: matches, mistakes on solved positions, a round robin, and the course of its run.

A benchmark is planned as a whole, then played step by step. Every step is a function of the seed and of its
players, so its outcome (apart from times) does not depend on the other steps or on their order. A match that is
asked for twice, in the table and in the round robin, is played once.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from alphazero.arena.elo import Rating, ratings
from alphazero.arena.evaluation import PlayMatch, RunPositionTest, player_seeds
from alphazero.arena.match import OPENING_MOVES, MatchResult, SoloResult
from alphazero.arena.opponents import expected_moves
from alphazero.arena.players import SearchBudget
from alphazero.arena.registry import PlayerSpec
from alphazero.arena.solved import PositionResult, SolvedPositions
from alphazero.game import Game
from alphazero.parallel.executor import Counter, Executor, Task
from alphazero.runs.agents import Agent


class Watcher(Protocol):
    """Follows the progress of a benchmark; called by several threads at once, and may raise to end it."""

    def begin(self, title: str, total: int, unit: str, *, steps: int) -> Callable[[int], None]:
        """One of `steps` steps begins (0: preparation); it is complete after `total` units, or about so many moves.

        Returns a function to call with the number of further units done, below 0 if some were lost.
        """

    def end(self, title: str, summary: str) -> None:
        """The step has ended with these results."""


class Stopped(Exception):
    """The benchmark has ended; raised in the matches that are still being played."""


class Match(NamedTuple):
    """Games between two players; in a game for one there is no opponent."""

    player: PlayerSpec
    opponent: PlayerSpec | None
    games: int

    @property
    def title(self) -> str:
        return f"{self.player.name} against {self.opponent.name}" if self.opponent else f"{self.player.name} alone"

    @property
    def players(self) -> tuple[PlayerSpec, ...]:
        return (self.player, self.opponent) if self.opponent else (self.player,)


class PositionTest(NamedTuple):
    """A player's answers to a file of solved positions."""

    player: PlayerSpec
    file: str

    @property
    def title(self) -> str:
        return f"{self.player.name} on {Path(self.file).name}"


class Step(NamedTuple):
    """A match or a position test on its way to the executor.

    outcomes:    the benchmark's, to which its own is added.
    total, unit: the amount of work, for the watcher.
    shared:      the task's arguments, as the executor shares them.
    """

    subject: Match | PositionTest
    outcomes: dict[Any, Any]
    total: int
    unit: str
    task: Task[Any]
    shared: tuple[Any, ...]


class CurveMatch(NamedTuple):
    """A match of one of the run's checkpoints, a point on its curve."""

    iteration: int
    role: Literal["agent", "network"]
    match: Match


class CurveTest(NamedTuple):
    """Solved positions for one of the run's checkpoints."""

    iteration: int
    role: Literal["agent", "network"]
    test: PositionTest


class CurvePoint(NamedTuple):
    """A checkpoint's share of the points against an opponent; without one (""), its mean reward a game."""

    iteration: int
    role: Literal["agent", "network"]
    opponent: str
    points: float
    interval: tuple[float, float]


class PositionPoint(NamedTuple):
    """A checkpoint's answers to a file of solved positions."""

    iteration: int
    role: Literal["agent", "network"]
    file: str
    result: PositionResult


class Standing(NamedTuple):
    """A player's place in the round robin: its rating, and its share of points against each opponent so far."""

    rating: Rating
    points: dict[str, float]


@dataclass(kw_only=True)
class Benchmark:
    """The plan of a benchmark and its results.

    agent, path: the agent, and where it was found.
    run:         the path, if it is a run's folder; iteration: its last checkpoint's.
    players:     the players of the round robin, the agent first; none: there is no round robin.
    opening_moves: random ones at most, before the players' own.
    notes:       messages about parts that had to be left out.
    """

    agent: Agent
    path: Path
    run: Path | None = None
    iteration: int | None = None
    budget: SearchBudget
    games: int
    opening_moves: int = OPENING_MOVES
    seed: int
    matches: list[Match] = field(default_factory=list)
    position_tests: list[PositionTest] = field(default_factory=list)
    curve: list[CurveMatch] = field(default_factory=list)
    curve_tests: list[CurveTest] = field(default_factory=list)
    players: list[PlayerSpec] = field(default_factory=list)
    positions: dict[str, SolvedPositions] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    results: dict[Match, MatchResult | SoloResult] = field(default_factory=dict)
    answers: dict[PositionTest, PositionResult] = field(default_factory=dict)

    @property
    def game(self) -> Game:
        return self.agent.game

    @property
    def tournament(self) -> list[Match]:
        """Every pair once; the agent is always the player, in other pairs the first by name."""
        order = self.players[:1] + sorted(self.players[1:], key=lambda player: player.name)
        return [Match(one, other, self.games) for one, other in combinations(order, 2)]

    @property
    def complete(self) -> bool:
        return self.results.keys() >= set(self._all_matches()) and self.answers.keys() >= set(self._all_tests())

    def run_all(self, watcher: Watcher, executor: Executor) -> None:
        """Runs the steps that are left. Whatever is raised meanwhile, the results of all steps that ended are kept.

        The results do not depend on the executor, since no step knows of another. (ONNX Runtime, torch and the kernels
        release the interpreter's lock while they compute.) The caller leaves the executor, and need not wait for
        steps that are still under way.
        """
        waiting = list(self._steps(executor))
        steps, stop = len(waiting), threading.Event()

        def count(begin: Callable[[], Counter], done: int) -> None:
            if stop.is_set():
                raise Stopped
            begin()(done)

        under_way: dict[Future[Any], Step] = {}
        try:
            while waiting or under_way:
                # Executors ask about waiting tasks, too; since none waits here, the first call means a step begins.
                while waiting and len(under_way) < executor.size:
                    step = waiting.pop(0)
                    begin = cache(partial(watcher.begin, step.subject.title, step.total, step.unit, steps=steps))
                    under_way[executor.submit(step.task, *step.shared, count=partial(count, begin))] = step
                wait(under_way, return_when=FIRST_COMPLETED)
                for future in [future for future in under_way if future.done()]:
                    step = under_way.pop(future)
                    step.outcomes[step.subject] = outcome = future.result()
                    watcher.end(step.subject.title, str(outcome))
        finally:
            stop.set()
            for future, step in under_way.items():  # some may have ended just before
                if future.done() and future.exception() is None:
                    step.outcomes[step.subject] = future.result()

    def standings(self) -> list[Standing]:
        """The round robin so far, the best first; empty while the matches played do not connect all players."""
        played = [
            (match.player.name, match.opponent.name, result.total)
            for match in self.tournament
            if match.opponent and isinstance(result := self.results.get(match), MatchResult)
        ]
        points: dict[str, dict[str, float]] = {}
        for player, opponent, tally in played:
            points.setdefault(player, {})[opponent] = tally.points
            points.setdefault(opponent, {})[player] = 1 - tally.points
        try:
            return [Standing(rating, points[rating.player]) for rating in ratings(played)]
        except ValueError:
            return []

    def points(self) -> list[CurvePoint]:
        """The points of the curve that have been played."""
        return [
            CurvePoint(iteration, role, match.opponent.name if match.opponent else "", result.points, result.interval)
            for iteration, role, match in self.curve
            if (result := self.results.get(match)) is not None
        ]

    def position_points(self) -> list[PositionPoint]:
        """The points of the curve on solved positions, as far as they have been asked about."""
        return [
            PositionPoint(iteration, role, test.file, self.answers[test])
            for iteration, role, test in self.curve_tests
            if test in self.answers
        ]

    def record(self) -> dict[str, Any]:
        """All figures, fit for JSON: None stands for what is no finite number."""
        played = {match: match_record(match, result) for match, result in self.results.items()}
        asked = {test: _test_record(test, found) for test, found in self.answers.items()}
        record: dict[str, Any] = {
            "agent": str(self.path),
            "game": self.game.name,
            "title": self.agent.title,
            "iteration": self.iteration,
            "simulations": self.budget.simulations if self.budget.seconds is None else None,
            "seconds": self.budget.seconds,
            "games": self.games,
            "opening_moves": self.opening_moves,
            "seed": self.seed,
            "complete": self.complete,
            "matches": [played[match] for match in self.matches if match in played],
            "positions": [asked[test] for test in self.position_tests if test in asked],
            "position_curve": [
                {"iteration": i, "role": role} | asked[test] for i, role, test in self.curve_tests if test in asked
            ],
            "curve": [
                {"iteration": i, "role": role} | played[match] for i, role, match in self.curve if match in played
            ],
        }
        if self.players:
            record["tournament"] = {
                "players": [rating._asdict() | {"against": points} for rating, points in self.standings()],
                "matches": [played[match] for match in self.tournament if match in played],
            }
        return dict(json.loads(json.dumps(record), parse_constant=lambda number: None))

    def _all_matches(self) -> list[Match]:
        """Each once, in the order in which they are played."""
        return list(dict.fromkeys([*self.matches, *self.tournament, *(point.match for point in self.curve)]))

    def _all_tests(self) -> list[PositionTest]:
        return list(dict.fromkeys([*self.position_tests, *(point.test for point in self.curve_tests)]))

    def _steps(self, executor: Executor) -> Iterator[Step]:
        """The steps that are left; players and positions are shared with the executor once."""
        share_player = cache(executor.share)
        share_positions = cache(lambda file: executor.share(self.positions[file]))
        seeds, seed = player_seeds(self.seed), self.seed
        for match in self._all_matches():
            if match not in self.results:
                title, longest = f"{match.title} (seed {seed})", self.agent.max_moves
                play = PlayMatch(title, self.game, match.games, seed, seeds, self.opening_moves, longest)
                shared = tuple(map(share_player, match.players))
                yield Step(match, self.results, expected_moves(self.game, match.games), "moves", play, shared)
        for test in self._all_tests():
            if test not in self.answers:
                run, total = RunPositionTest(f"{test.title} (seed {seed})", seed), len(self.positions[test.file].plies)
                shared = share_player(test.player), share_positions(test.file)
                yield Step(test, self.answers, total, "positions", run, shared)


def match_record(match: Match, result: MatchResult | SoloResult) -> dict[str, Any]:
    """The figures of a match, or of the games of one player."""
    roles = ("player", "opponent")
    record: dict[str, Any] = {role: player.name for role, player in zip(roles, match.players, strict=False)}
    if isinstance(result, SoloResult):
        record |= {"games": len(result.rewards), "mean_reward": result.mean}
        paces: tuple[float, ...] = (result.seconds_a_move,)
    else:
        record |= result.total._asdict() | {"first": result.first._asdict(), "second": result.second._asdict()}
        record["points"], paces = result.points, result.seconds_a_move
    record |= {"interval": result.interval, "distinct_games": result.distinct_games}
    record |= {"cut_off": result.cut_off} if result.cut_off else {}
    return record | {"seconds_a_move": dict(zip(roles, paces, strict=False))}


def _test_record(test: PositionTest, found: PositionResult) -> dict[str, Any]:
    groups = {
        name: rate._asdict() | {"error_rate": rate.rate, "interval": rate.interval}
        for name, rate in found.mistakes.items()
    }
    record = {"player": test.player.name, "file": test.file, **groups.pop("all"), "groups": groups}
    record |= {"perfect_moves": found.perfect_rate}
    if found.value:
        record["value"] = {"loss": found.value.loss, "wrong_sign": found.value.wrong_rate}
    return record
