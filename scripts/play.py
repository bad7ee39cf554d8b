"""Plays against an agent in the terminal, or looks at what it thinks.

    scripts/play.py [AGENT] [--first WHO] [--second WHO] [--strength 600|2s] [--moves MOVES] [--explore]

AGENT is a run's folder, a checkpoint's folder, or an agent.onnx; without one, the newest run in runs/,
or else the connect-four agent that comes with the package. WHO is human, agent, agent:64, agent:2s,
network, network@1, minimax:5, mcts:1000, random, perfect, or another AGENT. `help` lists the commands.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from functools import partial
from importlib.resources import files
from pathlib import Path

# Before torch is loaded: one thread an operation is the fastest for batches of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from rich.console import Console

from alphazero.arena.players import parse_strength
from alphazero.config import ConfigError
from alphazero.game.record import Record
from alphazero.replay import Samples
from alphazero.runs.agents import Agent, load_agent
from alphazero.runs.checkpoint import load_samples, run_folder
from alphazero.runs.files import RunError
from alphazero.shell import HUMAN, ExploreShell, PlayShell
from alphazero.shell.explorer import Explorer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agent", type=Path, nargs="?", help="a run's folder, a checkpoint's folder, or an agent.onnx")
    parser.add_argument("--first", metavar="WHO", help="who moves first (default: human)")
    parser.add_argument("--second", metavar="WHO", help="who moves second (default: agent)")
    parser.add_argument("--strength", default="600", help="of agents: simulations a move as 600, or seconds as 2s")
    parser.add_argument("--moves", default="", help="start after these moves, as 4453")
    parser.add_argument("--explore", action="store_true", help="look at positions instead of playing")
    parser.add_argument("--plain", action="store_true", help="no colours")
    parser.add_argument("--seed", type=int, default=1, help="of players that draw lots")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if sys.stdin is None:  # closed, as `<&-` does
        sys.stdin = io.StringIO()
    elif isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # what is no text is garbled input, and no more
    console = Console(highlight=False, no_color=arguments.plain or None)
    try:
        play(arguments, console)
    except (RunError, ConfigError, ValueError, TypeError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def play(arguments: argparse.Namespace, console: Console) -> None:
    path = arguments.agent or newest_agent()
    agent = load_agent(path)
    strength, record = parse_strength(arguments.strength), Record(agent.game, arguments.moves)
    explorer = Explorer(agent, partial(samples_beside, path, agent, console))
    if not 0 <= arguments.seed < 1 << 62:
        raise ValueError(f"--seed must be from 0 to 2^62, not {arguments.seed}")
    console.print(f"{agent.game.name} · the agent is {agent.title}", markup=False)
    console.print("`help` lists the commands")
    if arguments.explore:
        if arguments.first or arguments.second or strength.seconds:
            raise ValueError("--explore takes no players, and its --strength is a number of simulations")
        ExploreShell(agent, record, console, strength=strength, explorer=explorer).run()
        return
    seats = [arguments.first or HUMAN, arguments.second or "agent"][: agent.game.num_players]
    PlayShell(agent, record, console, seats=seats, strength=strength, seed=arguments.seed, explorer=explorer).run()


def newest_agent() -> Path:
    """The agent of the run that last wrote one; else the one that comes with the package."""
    there = sorted(Path("runs").glob("*/agent.onnx"), key=lambda path: path.stat().st_mtime)
    return there[-1].parent if there else Path(str(files("games") / "data" / "connect_four" / "agent.onnx"))


def samples_beside(path: Path, agent: Agent, console: Console) -> Samples | None:
    """The replay buffer of the run that the agent is from; None, and why, if there is none."""
    folder = run_folder(path)
    if not (folder / "checkpoints").is_dir():
        return None
    try:
        return load_samples(folder, agent.game)
    except RunError as error:
        console.print(f"no replay buffer: {error}", markup=False)
        return None


if __name__ == "__main__":
    sys.exit(main())
