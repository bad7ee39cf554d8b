"""How strong an agent is: matches, mistakes on solved positions, a round robin, and the course of its run.

A benchmark is planned as a whole, then played step by step. Every step is a function of the seed and of who
takes part, so its outcome (apart from times) does not depend on which others there are, or in what order; and a
match that is asked for twice, in the table and in the round robin, is played once.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from alphazero.arena.elo import Rating, ratings
from alphazero.arena.match import MatchResult, SoloResult
from alphazero.arena.players import SearchBudget
from alphazero.arena.registry import PlayerSpec
from alphazero.arena.solved import ErrorRate, SolvedPositions
from alphazero.arena.tasks import PlayMatch, RunPositionTest, player_seeds
from alphazero.game import Game
from alphazero.parallel.executor import Counter, Executor, Task
from alphazero.runs.agents import Agent


class Watcher(Protocol):
    """Is told how the benchmark goes on, by several threads at once, and may raise to end it."""

    def begin(self, title: str, total: int, unit: str, *, steps: int) -> Callable[[int], None]:
        """One of `steps` steps begins (0: that is preparation); it is done after `total` units.

        Returns what is to be told how many more units are done, fewer than 0 if some were lost.
        """

    def end(self, title: str, summary: str) -> None:
        """The step has ended so."""


class Stopped(Exception):
    """The benchmark has ended; raised in what was still being played."""


class Match(NamedTuple):
    """Games to be played; without an opponent in a game for one."""

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
    """A file of solved positions, put to a player."""

    player: PlayerSpec
    file: str

    @property
    def title(self) -> str:
        return f"{self.player.name} on {Path(self.file).name}"


class Step(NamedTuple):
    """A match or a position test on its way to the executor.

    total, unit: how much there is to do, for the watcher.
    shared:      what the task is run with, as the executor has it.
    """

    subject: Match | PositionTest
    total: int
    unit: str
    task: Task[Any]
    shared: tuple[Any, ...]


class CurveMatch(NamedTuple):
    """A match of one of the run's checkpoints, a point on its curve."""

    iteration: int
    role: Literal["agent", "network"]
    match: Match


class CurvePoint(NamedTuple):
    """What a checkpoint won of an opponent's points, or earned a game where there is none ("")."""

    iteration: int
    role: Literal["agent", "network"]
    opponent: str
    points: float
    interval: tuple[float, float]


class Standing(NamedTuple):
    """A player's place in the round robin: its rating, and its share of points against each it has met by now."""

    rating: Rating
    points: dict[str, float]


@dataclass(kw_only=True)
class Benchmark:
    """What is to be played, and what came of it.

    agent, path: the agent, and where it was found.
    run:         the path, if it is a run's folder; iteration: of its last checkpoint.
    players:    who takes part in the round robin, the agent first; none: there is no round robin.
    notes:       what had to be left out, for people.
    """

    agent: Agent
    path: Path
    run: Path | None = None
    iteration: int | None = None
    budget: SearchBudget
    games: int
    seed: int
    matches: list[Match] = field(default_factory=list)
    position_tests: list[PositionTest] = field(default_factory=list)
    curve: list[CurveMatch] = field(default_factory=list)
    players: list[PlayerSpec] = field(default_factory=list)
    positions: dict[str, SolvedPositions] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    results: dict[Match, MatchResult | SoloResult] = field(default_factory=dict)
    errors: dict[PositionTest, dict[str, ErrorRate]] = field(default_factory=dict)

    @property
    def game(self) -> Game:
        return self.agent.game

    @property
    def tournament(self) -> list[Match]:
        """Every pair once; the agent always as the player, among others the first by name."""
        agent, others = self.players[:1], sorted(self.players[1:], key=lambda player: player.name)
        order = agent + others
        return [Match(one, other, self.games) for place, one in enumerate(order) for other in order[place + 1 :]]

    @property
    def complete(self) -> bool:
        return all(match in self.results for match in self._all_matches()) and all(
            e in self.errors for e in self.position_tests
        )

    def run_all(self, watcher: Watcher, executor: Executor) -> None:
        """Plays what has not been played. Whatever is raised meanwhile, all steps that had ended are kept.

        The results do not depend on the executor, since no step knows of another. (ONNX Runtime, torch and the kernels
        release the interpreter's lock while they compute.) `executor` stays the caller's to leave, who need not wait
        for what is still being played.
        """
        waiting = deque(self._steps(executor))
        steps, stop = len(waiting), threading.Event()

        def counter(step: Step) -> Counter:
            advance: Counter | None = None

            def count(done: int) -> None:
                nonlocal advance
                if stop.is_set():
                    raise Stopped
                advance = advance or watcher.begin(step.subject.title, step.total, step.unit, steps=steps)
                advance(done)

            return count

        under_way: dict[Future[Any], Step] = {}
        try:
            while waiting or under_way:
                # Executors ask about waiting tasks, too; since none waits here, the first call means a step begins.
                while waiting and len(under_way) < executor.size:
                    step = waiting.popleft()
                    under_way[executor.submit(step.task, *step.shared, count=counter(step))] = step
                wait(under_way, return_when=FIRST_COMPLETED)
                for future in [future for future in under_way if future.done()]:
                    subject, outcome = under_way[future].subject, future.result()
                    self._keep(subject, outcome)
                    del under_way[future]
                    watcher.end(subject.title, _summary(outcome))
        finally:
            stop.set()
            for future, step in under_way.items():  # some may have ended just before
                if future.done() and future.exception() is None:
                    self._keep(step.subject, future.result())

    def standings(self) -> list[Standing]:
        """The round robin so far, the best first; empty if what was played connects not all who played."""
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
        """What of the curve has been played."""
        found = []
        for iteration, role, match in self.curve:
            if (result := self.results.get(match)) is not None:
                points = result.points if isinstance(result, MatchResult) else result.mean
                found.append(
                    CurvePoint(iteration, role, match.opponent.name if match.opponent else "", points, result.interval)
                )
        return found

    def record(self) -> dict[str, Any]:
        """All figures, fit for JSON."""
        matches = [match_record(m, self.results[m]) for m in self.matches if m in self.results]
        record: dict[str, Any] = {
            "agent": str(self.path),
            "game": self.game.name,
            "title": self.agent.title,
            "iteration": self.iteration,
            "simulations": self.budget.simulations if self.budget.seconds is None else None,
            "seconds": self.budget.seconds,
            "games": self.games,
            "seed": self.seed,
            "complete": self.complete,
            "matches": matches,
            "positions": [_test_record(test, self.errors[test]) for test in self.position_tests if test in self.errors],
            "curve": [
                {"iteration": point.iteration, "role": point.role}
                | match_record(point.match, self.results[point.match])
                for point in self.curve
                if point.match in self.results
            ],
        }
        if self.players:
            record["tournament"] = {
                "players": [rating._asdict() | {"against": points} for rating, points in self.standings()],
                "matches": [match_record(m, self.results[m]) for m in self.tournament if m in self.results],
            }
        without_nan: dict[str, Any] = _without_nan(record)
        return without_nan

    def _all_matches(self) -> list[Match]:
        """Each once, in the order in which they are played."""
        return list(dict.fromkeys([*self.matches, *self.tournament, *(point.match for point in self.curve)]))

    def _steps(self, executor: Executor) -> list[Step]:
        """What has not been played; who takes part, and the positions, are shared with the executor once."""
        matches = [match for match in self._all_matches() if match not in self.results]
        position_tests = [test for test in self.position_tests if test not in self.errors]
        everyone = [player for match in matches for player in match.players] + [test.player for test in position_tests]
        players = {player: executor.share(player) for player in dict.fromkeys(everyone)}
        positions = {
            file: executor.share(self.positions[file]) for file in dict.fromkeys(test.file for test in position_tests)
        }
        steps, seeds = [], player_seeds(self.seed)
        for match in matches:
            play = PlayMatch(f"{match.title} (seed {self.seed})", self.game, match.games, self.seed, seeds)
            steps.append(Step(match, match.games, "games", play, tuple(players[one] for one in match.players)))
        for test in position_tests:
            sit, total = (
                RunPositionTest(f"{test.title} (seed {self.seed})", self.seed),
                len(self.positions[test.file].plies),
            )
            steps.append(Step(test, total, "positions", sit, (players[test.player], positions[test.file])))
        return steps

    def _keep(self, subject: Match | PositionTest, outcome: Any) -> None:
        if isinstance(subject, Match):
            self.results[subject] = outcome
        else:
            self.errors[subject] = outcome


def match_record(match: Match, result: MatchResult | SoloResult) -> dict[str, Any]:
    """The figures of a match, or of games alone."""
    if isinstance(result, SoloResult):
        return {
            "player": match.player.name,
            "games": len(result.rewards),
            "mean_reward": result.mean,
            "interval": list(result.interval),
            "distinct_games": result.distinct_games,
            "seconds_a_move": {"player": result.seconds_a_move},
        }
    assert match.opponent is not None
    return {
        "player": match.player.name,
        "opponent": match.opponent.name,
        **result.total._asdict(),
        "first": result.first._asdict(),
        "second": result.second._asdict(),
        "points": result.points,
        "interval": list(result.interval),
        "distinct_games": result.distinct_games,
        "seconds_a_move": dict(zip(("player", "opponent"), result.seconds_a_move, strict=True)),
    }


def _test_record(test: PositionTest, errors: Mapping[str, ErrorRate]) -> dict[str, Any]:
    def figures(rate: ErrorRate) -> dict[str, Any]:
        return {**rate._asdict(), "error_rate": rate.rate, "interval": list(rate.interval)}

    groups = {name: figures(rate) for name, rate in errors.items() if name != "all"}
    return {"player": test.player.name, "file": test.file, **figures(errors["all"]), "groups": groups}


def _summary(outcome: MatchResult | SoloResult | dict[str, ErrorRate]) -> str:
    if not isinstance(outcome, dict):
        return str(outcome)
    low, high = outcome["all"].interval
    return f"{outcome['all'].rate:.2%} mistakes (95 % interval {low:.2%} to {high:.2%})"


def _without_nan(record: Any) -> Any:
    """The same with None for every number that JSON cannot write."""
    if isinstance(record, dict):
        return {key: _without_nan(value) for key, value in record.items()}
    if isinstance(record, list):
        return [_without_nan(value) for value in record]
    return None if isinstance(record, float) and not math.isfinite(record) else record
