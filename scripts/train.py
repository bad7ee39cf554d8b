"""Trains an agent by self-play.

    scripts/train.py CONFIG [--minutes M] [--run DIR] [--section.field value ...]
    scripts/train.py --resume DIR [--section.field value ...]
    scripts/train.py CONFIG --network.kind PACKAGE.MODULE:CLASS [--network.options.NAME value ...]
    scripts/train.py --resume URL [--run DIR]   a run that cluster.mirror copied there, into a folder here
    scripts/train.py [CONFIG] --help            every field, with its unit and the papers' values

CONFIG is a file, such as my_game.toml, or the name of one that comes with the package: connect_four, tic_tac_toe, ...
Ctrl-C stops a run after the iteration under way, with everything saved.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # called by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli, loading

# isort: split
import re
from datetime import datetime

from rich.console import Console
from rich.table import Table

from alphazero.arena.match import MatchResult, SoloResult
from alphazero.config import Config
from alphazero.game import Game
from alphazero.game.conformance import ConformanceError, check_game
from alphazero.game.loading import run_around
from alphazero.learner import LearningError
from alphazero.parallel.executor import ExecutorError
from alphazero.report.terminal import LEGEND, LITERAL, match_table, solo_table
from alphazero.runs.checkpoint import read_config
from alphazero.runs.configuration import configuration_file, load_config
from alphazero.runs.files import CONFIG, RunError
from alphazero.runs.mirror import check_protocol, fetch, is_url
from alphazero.shell.commands import as_called, script_command
from alphazero.shell.overrides import game_of, overridden
from alphazero.trainer.run import Stopped
from alphazero.trainer.session import train_run


def main() -> int:
    return cli.run(
        command,
        errors=(ConformanceError, LearningError, ExecutorError),
        stopped="Stopped; the last checkpoint stands.",
    )


def command() -> None:
    given = sys.argv[1:]
    config_file = configuration_file(given.pop(0)) if given and not given[0].startswith("-") else None
    parser = cli.Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--resume")
    known, overrides = parser.parse_known_args(given)
    console = Console(**LITERAL)
    try:
        if {"-h", "--help"} & set(overrides):
            print(f"{as_called(__doc__ or '')}\n{LEGEND}\n")
        elif (config_file is None) == (known.resume is None):
            parser.error("name either a configuration, such as connect_four, or a run with --resume DIR")
        elif known.resume and known.run and not is_url(known.resume):
            parser.error("--resume DIR continues in that folder; leave --run away")
        resume = Path(known.resume) if known.resume else None
        if resume and is_url(known.resume):
            resume = known.run or Path("runs") / resume.name
            console.print(f"Copying {known.resume} to {resume} ...")
            fetch(known.resume, resume)
        saved = read_config(resume) if resume else load_config(config_file) if config_file else Config()
        given = {argument.partition("=")[0] for argument in overrides}
        if "--iterations" in given and "--minutes" not in given:
            overrides.append("--minutes=0")  # what is given here counts more than the file
        config = overridden(saved, overrides, prog="scripts/train.py CONFIG")
        if config.minutes and "--iterations" in given:
            console.print(f"minutes = {config.minutes:g} counts, not iterations = {config.iterations}")
        elif saved.minutes and not config.minutes:
            console.print(f"iterations = {config.iterations} counts, not minutes = {saved.minutes:g}")
        name = config_file.stem if config_file and config.game == saved.game else None
        source = resume / CONFIG if resume else config_file if config_file and run_around(config_file) else None
        try:
            game = game_of(config, saved, source, given)
        except RunError as error:
            if known.resume and is_url(known.resume):
                raise RunError(f"{error} with --resume {resume}, where it is now") from error
            raise
        train(game, config, saved, resume=resume, run=known.run, name=name, console=console)
    except BrokenPipeError:  # nobody reads any more
        raise
    except OSError as error:
        raise RunError(f"{error}; everything saved before is intact") from error
    except Stopped:
        raise KeyboardInterrupt from None


def train(
    game: Game,
    config: Config,
    saved: Config,
    *,
    resume: Path | None,
    run: Path | None,
    name: str | None,
    console: Console,
) -> None:
    """Trains in the folder `resume` or `run`, or in a new one that has the name of the configuration or the game."""
    loading.show("Preparing the run ...")
    check_game(game, games=16)
    if config.cluster.mirror:
        check_protocol(config.cluster.mirror)
    word = re.sub(r"[^\w.-]+", "_", name or game.name)  # a game's name may be none of a folder
    folder = resume or run or Path("runs") / f"{word}-{datetime.now():%Y%m%d-%H%M%S}"
    session, results = train_run(game, config, folder, saved=saved if resume else None, console=console)
    if results:
        console.print(strength_table(game, results, config))
    done, config = session.run.progress.iteration, session.run.config
    if done < config.iterations:
        console.print(f"Stopped after {done} of {config.iterations} iterations, everything saved.")
        console.print(f"Continue with: {script_command('train.py', '--resume', folder)}", soft_wrap=True)
    elif config.minutes:
        console.print(f"It took {session.budget.spent / 60:.1f} of {config.minutes:g} minutes.")
        again = script_command("train.py", folder / "config.toml", "--minutes", 0)
        console.print(f"The same iterations again: {again}", soft_wrap=True)
    console.print(f"The agent: {folder / 'agent.onnx'}", soft_wrap=True)
    if game.discrete:
        console.print(f"Play against it: {script_command('play.py', folder)}", soft_wrap=True)


def strength_table(game: Game, results: dict[str, MatchResult | SoloResult], config: Config) -> Table:
    """How the agent and its network alone fare against each opponent, in all and by colour; or by themselves."""
    players = {"strength": f"agent:{config.evaluation.simulations}", "network": "network"}
    rows = [(*tag.split("/", 1), result) for tag, result in results.items()]
    if alone := [(players[player], result) for player, _, result in rows if isinstance(result, SoloResult)]:
        return solo_table(alone, game.name, game.metric_units)
    matches = [(players[player], other, result) for player, other, result in rows if isinstance(result, MatchResult)]
    return match_table(matches, game.name)


if __name__ == "__main__":
    sys.exit(main())
