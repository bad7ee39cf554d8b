"""Measures an agent: matches against other players, and mistakes on solved positions.

    scripts/benchmark.py AGENT [--against minimax:5,random] [--games 200] [--simulations 600]
                         [--positions FILE.csv] [--seed S] [--json OUT.json]

AGENT is a run's folder, a checkpoint's folder, or an agent.onnx.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

# Before torch is loaded: one thread an operation is the fastest for batches of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from rich.console import Console
from rich.table import Table

from alphazero.arena import MatchResult, play_match, wilson_interval
from alphazero.checkpoint import RunError, load_agent
from alphazero.config import ConfigError
from alphazero.players import AgentPlayer, NetworkPlayer, Player, parse_player
from alphazero.solved import error_rate, load_positions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agent", type=Path, help="a run's folder, a checkpoint's folder, or an agent.onnx")
    parser.add_argument("--against", default="random,minimax:5", help="opponents, separated by commas")
    parser.add_argument("--games", type=int, default=200, help="games against each opponent, an even number")
    parser.add_argument("--simulations", type=int, default=600, help="simulations a move of the agent")
    parser.add_argument("--positions", type=Path, action="append", default=[], help="a file of solved positions")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        return benchmark(arguments, Console())
    except (RunError, ConfigError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def benchmark(arguments: argparse.Namespace, console: Console) -> int:
    game, evaluator, search, _ = load_agent(arguments.agent)
    config = replace(search, simulations=arguments.simulations)
    opponents = [name for name in arguments.against.split(",") if name]
    for name in opponents:
        parse_player(name, game, seed=arguments.seed)
    files = [(path, load_positions(path, game)) for path in arguments.positions]
    players: list[Player] = [AgentPlayer(game, evaluator, config, seed=arguments.seed), NetworkPlayer(game, evaluator)]
    matches, positions = [], []
    if opponents:
        table = Table("player", "against", "points", "95 % interval", "won", "drawn", "lost", title=game.name)
        for name in opponents:
            for player in players:
                with console.status(f"{player.name} against {name} ..."):
                    opponent = parse_player(name, game, seed=arguments.seed)
                    result = play_match(game, player, opponent, games=arguments.games, seed=arguments.seed)
                low, high = result.interval
                table.add_row(
                    player.name, name, f"{result.points:.1%}", f"{low:.1%} to {high:.1%}", *map(str, result.total)
                )
                matches.append(match_record(player.name, name, result))
        console.print(table)
    if files:
        table = Table("player", "positions", "mistakes", "error rate", "95 % interval", title="against perfect play")
        for path, solved in files:
            for player in players:
                with console.status(f"{player.name} on {path.name} ..."):
                    errors = error_rate(player, solved)
                low, high = wilson_interval(errors.rate, errors.positions)
                interval = f"{low:.1%} to {high:.1%}"
                table.add_row(player.name, str(errors.positions), str(errors.mistakes), f"{errors.rate:.2%}", interval)
                positions.append(
                    {
                        "player": player.name,
                        "file": str(path),
                        **errors._asdict(),
                        "error_rate": errors.rate,
                        "interval": [low, high],
                    }
                )
        console.print(table)
    if arguments.json:
        record = {"agent": str(arguments.agent), "simulations": arguments.simulations, "seed": arguments.seed}
        arguments.json.write_text(json.dumps(record | {"matches": matches, "positions": positions}, indent=2) + "\n")
    return 0


def match_record(player: str, opponent: str, result: MatchResult) -> dict[str, object]:
    return {
        "player": player,
        "opponent": opponent,
        **result.total._asdict(),
        "first": result.first._asdict(),
        "second": result.second._asdict(),
        "points": result.points,
        "interval": result.interval,
        "distinct_games": result.distinct_games,
    }


if __name__ == "__main__":
    sys.exit(main())
