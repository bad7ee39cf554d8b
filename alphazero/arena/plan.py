"""The plan of a benchmark: everything is loaded and checked before anything is played."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from alphazero.arena.benchmark import Benchmark, CurveMatch, CurveTest, Match, PositionTest, Watcher
from alphazero.arena.match import OPENING_MOVES
from alphazero.arena.opponents import random_positions
from alphazero.arena.players import SearchBudget
from alphazero.arena.registry import PlayerSpec, agent_spec, find_player, network_spec
from alphazero.arena.solved import line_count, load_positions
from alphazero.game import Game
from alphazero.runs.agents import Agent, load_agent
from alphazero.runs.checkpoint import checkpoints
from alphazero.runs.files import RunError

CURVE_SIMULATIONS = 64  # at the most, unless they are asked for: a curve is many matches
MOST_LINES = 1 << 20  # of play that a minimax looks at, of those that are opponents by default
BASELINE = "minimax:5"  # on solved positions, if no minimax is among the opponents


def plan(
    path: Path,
    watcher: Watcher,
    *,
    against: Sequence[str] | None = None,
    tournament: Sequence[str] = (),
    games: int,
    opening_moves: int = OPENING_MOVES,
    budget: SearchBudget,
    seed: int,
    files: Sequence[Path] = (),
    curve: int = 0,
    curve_budget: SearchBudget | None = None,
    named: str | None = None,
    named_network: str | None = None,
) -> Benchmark:
    """Plans a benchmark: loads and checks all its parts.

    against:        opponents, see `alphazero.arena.registry`; None: `default_opponents`, or none beside a round robin.
    tournament:     players that meet the agent and one another in a round robin.
    files:          files of solved positions, or of positions to solve.
    opening_moves:  random moves at most, before the players' own.
    curve:          number of earlier checkpoints that play a quarter of the games against the same opponents, and
                    answer the same positions.
    curve_budget:   for the agents on the curve; None: like `budget`, but at most CURVE_SIMULATIONS.
    named, named_network: the game and its network, where they must be: see `load_agent`.

    ValueError or RunError if a part cannot be played.
    """
    kept = checkpoints(path)
    load = partial(load_agent, game=named, network=named_network)
    agent = load(kept[-1] if kept else path)
    game, alone = agent.game, agent.game.num_players == 1
    if not alone and (games < 2 or games % 2):
        raise ValueError(f"a match is made of pairs of games: games must be even and at least 2, not {games}")
    if games < 1 or curve < 0:
        raise ValueError(f"games must be at least 1 and curve at least 0, not {games} and {curve}")
    if alone and (against or tournament):
        raise ValueError(f"{game.name} is a game for one: nobody can oppose the agent")
    if against is None:
        against = () if tournament else default_opponents(game)
    find = partial(find_player, agent=agent, budget=budget, game=named, network=named_network)
    # Each name once: a path is loaded once, and stays the same checkpoint even while its run trains on.
    found = {name: find(name) for name in dict.fromkeys([*against, *tournament])}
    me, network = find("agent"), find("network")
    run, iteration = (path, int(kept[-1].name)) if kept else (None, None)
    benchmark = Benchmark(
        agent=agent, path=path, run=run, iteration=iteration, budget=budget, games=games, opening_moves=opening_moves,
        seed=seed,
    )  # fmt: skip
    opponents: list[PlayerSpec | None] = [None] if alone else [found[name] for name in dict.fromkeys(against)]
    benchmark.matches = [Match(player, opponent, games) for opponent in opponents for player in (me, network)]
    if alone:
        benchmark.matches.append(Match(find("random"), None, games))
    if tournament:
        benchmark.players = list(dict.fromkeys([me, *(found[name] for name in tournament)]))
        if len(benchmark.players) < 2:
            raise ValueError("a round robin needs another player beside the agent itself")
    minimaxes = [found[name] for name in dict.fromkeys(against) if name.startswith("minimax:")]
    for file in files:
        title, rows = f"reading {file.name}", line_count(file) - 1
        advance = watcher.begin(title, max(1, rows), "positions", steps=0)
        benchmark.positions[str(file)] = load_positions(file, game, progress=advance)
        watcher.end(title, "")
        tested = (me, network, *(minimaxes or [find(BASELINE)]))
        benchmark.position_tests += [PositionTest(player, str(file)) for player in tested]
    if kept and curve and (opponents or files):
        slow = SearchBudget(min(budget.simulations, CURVE_SIMULATIONS))
        _plan_curve(benchmark, watcher, kept, curve, curve_budget or slow, load)
    return benchmark


def default_opponents(game: Game) -> tuple[str, ...]:
    """Players of all kinds; of minimax those that the size of the game can bear, whatever the machine."""
    if game.num_players == 1:
        return ()
    depths: list[int] = []
    if game.discrete:
        positions, _ = random_positions(game)
        moves = float(game.legal(positions).sum(1).double().mean())
        depths = [depth for depth in (1, 3, 5) if depth == 1 or moves**depth <= MOST_LINES]
    return ("random", *(f"minimax:{depth}" for depth in depths), "mcts:1000")


def _plan_curve(
    benchmark: Benchmark,
    watcher: Watcher,
    kept: Sequence[Path],
    count: int,
    budget: SearchBudget,
    load: Callable[[Path], Agent],
) -> None:
    """Adds matches of earlier checkpoints, and of the last: the table's own where they are the same."""
    last = int(kept[-1].name)
    chosen = spread(kept[:-1], count, last)
    agents: dict[int, Agent] = {}
    advance = watcher.begin("loading checkpoints", len(chosen), "checkpoints", steps=0)
    for folder in chosen:
        advance(1)
        try:
            agents[int(folder.name)] = load(folder)
        except RunError as error:
            benchmark.notes.append(f"left out of the curve: {error}")
    watcher.end("loading checkpoints", "")
    opponents, few = dict.fromkeys(match.opponent for match in benchmark.matches), max(2, benchmark.games // 8 * 2)
    for iteration, agent in (agents | {last: benchmark.agent}).items():
        suffix = "" if iteration == last else f" of iteration {iteration}"
        games = few if suffix else benchmark.games
        searching, alone = agent_spec(f"agent:{budget}{suffix}", agent, budget), network_spec(f"network{suffix}", agent)
        for opponent in opponents:
            match = Match(searching, opponent, games if budget == benchmark.budget else few)
            benchmark.curve.append(CurveMatch(iteration, "agent", match))
            benchmark.curve.append(CurveMatch(iteration, "network", Match(alone, opponent, games)))
        for file in benchmark.positions:
            benchmark.curve_tests.append(CurveTest(iteration, "agent", PositionTest(searching, file)))
            benchmark.curve_tests.append(CurveTest(iteration, "network", PositionTest(alone, file)))


def spread(folders: Sequence[Path], count: int, last: int) -> list[Path]:
    """`count` checkpoints, or all if there are fewer: those nearest to even steps up to iteration `last`."""
    left = list(folders)
    for number in range(1, min(count, len(left)) + 1):
        goal = number * last / (count + 1)
        left.remove(min(left, key=lambda folder: abs(int(folder.name) - goal)))
    return [folder for folder in folders if folder not in left]
