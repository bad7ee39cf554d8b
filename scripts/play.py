"""Plays against an agent in the terminal, or explores positions with it.

    scripts/play.py [AGENT] [--first WHO] [--second WHO] [--budget 600|2s] [--moves MOVES] [--explore]

AGENT is a run's folder, a checkpoint's folder, an agent.onnx, or the name of one that ships, connect_four; without one,
the newest run in runs/ that can be played, or else connect_four. WHO is human, agent, agent:64, agent:2s,
network, network@1, minimax:5, mcts:1000, random, perfect, or another AGENT. `help` lists the commands.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # called by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
from functools import partial

from rich.console import Console

from alphazero.arena.players import parse_budget
from alphazero.game.record import Record
from alphazero.network.threads import on_all_cores
from alphazero.parallel.executor import available_cores
from alphazero.replay import Samples
from alphazero.report.terminal import LITERAL
from alphazero.runs.agents import Agent, continuous_game, load_agent
from alphazero.runs.checkpoint import load_samples, run_folder
from alphazero.runs.files import AGENT, CARD, RunError
from alphazero.runs.shipped import AGENT_HELP, AGENTS, agent_file
from alphazero.shell.base import Shell
from alphazero.shell.commands import script_command
from alphazero.shell.explore import ExploreShell
from alphazero.shell.explorer import Explorer
from alphazero.shell.play import HUMAN, PlayShell


def main() -> int:
    return cli.run(play, wrong=(ValueError, TypeError))


def play() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("agent", type=agent_file, nargs="?", help=AGENT_HELP)
    parser.add_argument("--first", metavar="WHO", help="who moves first (default: human)")
    parser.add_argument("--second", metavar="WHO", help="who moves second (default: agent)")
    parser.add_argument(
        "--budget",
        "--strength",
        type=cli.option(parse_budget),
        default="600",
        help="search budget of agents: simulations a move, such as 600, or seconds, such as 2s (default: 600)",
    )
    parser.add_argument("--moves", default="", help="start after these moves, such as 4453")
    parser.add_argument("--explore", action="store_true", help="explore positions instead of playing")
    parser.add_argument("--plain", action="store_true", help="no colours")
    parser.add_argument("--seed", type=cli.seed, default=1, help="seed of players that move at random (default: 1)")
    cli.add_code(parser)
    arguments = parser.parse_args()
    budget = arguments.budget
    if arguments.explore and (arguments.first or arguments.second or budget.seconds):
        parser.error("--explore takes no players, and its --budget is a number of simulations")
    console = Console(highlight=False, no_color=arguments.plain or None, **LITERAL)
    path = arguments.agent or newest_agent(console)
    code = {"game": arguments.game, "network": arguments.network_kind}
    agent = load_agent(path, **code)
    if not agent.game.discrete:
        raise ValueError(f"{agent.game.name} has {': '.join(unplayable(path, agent.game.name))}")
    record = Record(agent.game, arguments.moves)
    agent = agent._replace(evaluator=on_all_cores(agent.evaluator, available_cores()))
    explorer = Explorer(agent, partial(samples_beside, path, agent, console))
    shell: Shell
    if arguments.explore:
        shell = ExploreShell(explorer, record, console, budget=budget)
    else:
        seats = [arguments.first or HUMAN, arguments.second or "agent"][: agent.game.num_players]
        shell = PlayShell(explorer, record, console, seats=seats, budget=budget, seed=arguments.seed, code=code)
    console.print(f"{agent.game.name} · the agent is {agent.title}")
    console.print("`help` lists the commands")
    shell.run()


def newest_agent(console: Console) -> Path:
    """The newest run that can be played, or without one the agent that comes with the package."""
    runs = sorted((path.parent for path in Path("runs").glob("*/agent.onnx")), key=exported_at, reverse=True)
    for run in runs:
        if (game := continuous_game(run / CARD)) is None:
            return run
        if run == runs[0]:
            why, command = unplayable(run, game)
            console.print(f"{run} is newer, but {game} has {why}:", soft_wrap=not console.is_terminal)
            console.print(command, soft_wrap=True)
    return AGENTS["connect_four"]


def exported_at(run: Path) -> float:
    return (run / AGENT).stat().st_mtime


def unplayable(path: Path, game: str) -> tuple[str, str]:
    """Why an agent cannot be played with, and what can be done with it instead: in words, and the command."""
    why, done, command = "continuous actions, which cannot be typed", "measure it", ("benchmark.py", path)
    if game == "trebuchet":
        shot = ("--agent", path, "--wind", 5, "--target", 100, "--save", "shot.gif")
        done, command = "aim with it, and watch the shot", ("aim.py", *shot)
    return f"{why}; {done}", script_command(*command)


def samples_beside(path: Path, agent: Agent, console: Console) -> Samples | None:
    """The replay buffer of the agent's run; None if there is none, with a message if it cannot be read."""
    folder = run_folder(path)
    if not (folder / "checkpoints").is_dir():
        return None
    try:
        return load_samples(folder, agent.game)
    except RunError as error:
        console.print(f"no replay buffer: {error}")
        return None


if __name__ == "__main__":
    sys.exit(main())
