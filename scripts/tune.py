"""Tunes settings: trains with many, gives up the poor ones on their way, keeps the best.

    scripts/tune.py CONFIG --over SECTION.FIELD=LOW..HIGH SECTION.FIELD=A,B,C ...
                    --budget 2h [--trial 10m] [--trials N] [--objective NAME]
                    [--positions FILE] [--run DIR] [--section.field value ...]
    scripts/tune.py --resume DIR [--budget 4h] [--trials N]

CONFIG is a file, or the name of one that comes with the package. The first
trial has its settings; whatever --over does not name is the same for all, and
can be changed as in scripts/train.py: --evaluation.games 200, --tracker wandb.

A range is searched evenly, or by its logarithm if its low end is above 0 and
its high end at least ten times that; whole numbers stay whole. Choices are
separated by commas: learner.batch_size=64,128 search.solver=true,false

Ctrl-C stops after the iteration under way, with everything saved; --resume
goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # called by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli, loading

# isort: split
import argparse
import inspect
import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from rich.console import Console

from alphazero.arena.solved import SolvedPositions, load_positions
from alphazero.config import Config, ConfigError
from alphazero.game import Game
from alphazero.game.conformance import ConformanceError, check_game
from alphazero.game.loading import is_loaded_as, run_around
from alphazero.game.messages import printable
from alphazero.learner import LearningError
from alphazero.parallel.executor import ExecutorError
from alphazero.report.terminal import LITERAL, progress_bar
from alphazero.runs import files, trust
from alphazero.runs.configuration import check_fit, configuration_file, load_config, to_toml
from alphazero.runs.files import RunError
from alphazero.shell.commands import as_called, python_command, script_command
from alphazero.shell.overrides import game_of, overridden
from alphazero.trainer.session import check_opponents
from alphazero.tuning import records, table
from alphazero.tuning.records import Saved, Tuning
from alphazero.tuning.sampling import importances
from alphazero.tuning.settings import parse_settings, tried, with_values
from alphazero.tuning.tuner import Tuner, TuningError
from alphazero.tuning.yardsticks import YARDSTICKS, Yardstick, yardstick_of


def main() -> int:
    return cli.run(tune, errors=(TuningError, ConformanceError, LearningError, ExecutorError))


def make_parser() -> cli.Parser:
    parser = cli.Parser(
        description=__doc__,
        usage=as_called("scripts/tune.py CONFIG --over SECTION.FIELD=LOW..HIGH ... --budget 2h ..."),
        allow_abbrev=False,
    )
    parser.add_argument(
        "--over",
        nargs="+",
        action="extend",
        metavar="SETTING",
        help="what to vary: ranges and choices, as above; CONFIG must come before",
    )
    parser.add_argument(
        "--budget", metavar="TIME", type=cli.duration, help="the time of everything together: 90s, 30m, 2h30m"
    )
    parser.add_argument(
        "--trials", metavar="N", type=cli.whole(1, 10_000), help="the most trials; this, --budget or both must be given"
    )
    parser.add_argument(
        "--trial",
        metavar="TIME",
        type=cli.duration,
        help="the time of each trial, so that slow settings pay for it. Default: the configuration's minutes, or else "
        "its iterations",
    )
    yardsticks = "; ".join(
        f"{y.name}: {y.meaning} ({'lower' if y.lower else 'higher'} is better)" for y in YARDSTICKS.values()
    )
    parser.add_argument(
        "--objective",
        metavar="NAME",
        choices=YARDSTICKS,
        help=f"what trials are compared by. {yardsticks}. Default: the first of these that the game has".replace(
            "%", "%%"
        ),
    )
    parser.add_argument(
        "--positions",
        metavar="FILE",
        type=Path,
        help="solved positions, as for the benchmark. Default: data/GAME/positions.csv beside the game's module",
    )
    parser.add_argument("--run", metavar="DIR", type=Path, help="the new folder; default: runs/tune-NAME-DATE")
    parser.add_argument("--resume", metavar="DIR", type=Path, help="the folder of a tuning to go on with")
    return parser


def tune() -> int:
    given = sys.argv[1:]
    config_file = configuration_file(given.pop(0)) if given and not given[0].startswith("-") else None
    parser = make_parser()
    options, overrides = parser.parse_known_args(given)
    console = Console(**LITERAL, highlight=False)
    if (config_file is None) == (options.resume is None):
        parser.error("name either a configuration, such as connect_four, or a tuning with --resume DIR")
    import optuna  # noqa: F401  (if it is missing, that is said before anything begins)

    if config_file:
        plan = new(config_file, options, overrides, parser)
    else:
        plan = resumed(options.resume, options, overrides, parser)
    with progress_bar(console, "tuning") as show:
        tuner = Tuner(*plan, console=console, show=show)
        loading.over()
        introduce(tuner, console, again=bool(options.resume))
        try:
            tuner.run()
        except ConfigError:  # the first trial cannot be trained
            if not options.resume:
                files.remove(plan.folder)
            raise
    show_results(tuner, console)
    return 0


class Plan(NamedTuple):
    """What a tuner is made from; everything has been checked that can be before a trial."""

    folder: Path
    saved: Saved
    game: Game
    yardstick: Yardstick
    positions: SolvedPositions | None


def new(config_file: Path, options: argparse.Namespace, overrides: list[str], parser: cli.Parser) -> Plan:
    """A new tuning, in a folder of its own."""
    if not options.over:
        parser.error("--over is missing: name what to vary, such as --over search.c_scale=0.1..1")
    if not (options.budget or options.trials):
        parser.error("--budget is missing: say how long all of it may take, such as --budget 2h, or --trials N")
    file = load_config(config_file)
    given = names_of(overrides)
    if "--iterations" in given and "--minutes" not in given:
        overrides.append("--minutes=0")  # what is given here counts more than the file
    config = overridden(file, overrides, prog="scripts/tune.py CONFIG")
    settings = parse_settings(options.over, config)
    game = game_of(config, file, config_file if run_around(config_file) else None, given)
    check_game(game, games=16)
    fitting(game, config, "the configuration")
    for setting in settings:
        for value in tried(setting):
            fitting(game, with_values(config, {setting.name: value}), f"--over {setting.name}: {value}")
    minutes = options.trial / 60 if options.trial else config.minutes
    if options.budget and 60 * minutes > options.budget:
        raise ConfigError(f"a trial of {60 * minutes:g} s is longer than --budget, {options.budget:g} s; see --trial")
    file_of_positions = options.positions or positions_of(game)
    yardstick = yardstick_of(options.objective, game, config, positions=file_of_positions is not None)
    tuning = Tuning(
        over=options.over,
        yardstick=yardstick.name,
        positions="" if yardstick.by_matches or not file_of_positions else str(file_of_positions.absolute()),
        minutes=minutes,
        budget=options.budget or 0.0,
        trials=options.trials or 0,
        seed=config.seed,
    )
    positions = positions_for(tuning, game)
    word = re.sub(r"[^\w.-]+", "_", config_file.stem if config.game == file.game else game.name)
    folder = options.run or Path("runs") / f"tune-{word}-{datetime.now():%Y%m%d-%H%M%S}"
    records.create(folder, tuning, to_toml(config))
    if is_loaded_as(config.game, game):
        trust.trust(folder, config.game)
    if config.network.own:
        trust.trust(folder, config.network.kind, trust.NETWORKS)
    return Plan(folder, Saved(tuning, config, settings), game, yardstick, positions)


def resumed(folder: Path, options: argparse.Namespace, overrides: list[str], parser: cli.Parser) -> Plan:
    """The tuning in the folder, with another budget if one is given."""
    fixed = [name for name in ("over", "trial", "objective", "positions", "run") if getattr(options, name)]
    given = names_of(overrides)
    if fixed or given - {"--game", "--network.kind"}:
        wrong = f"--{fixed[0]}" if fixed else min(given - {"--game", "--network.kind"})
        parser.error(f"{wrong} stays as it is in a tuning that is resumed; only --budget and --trials change")
    tuning, config, settings = records.read(folder)
    tuning.budget = options.budget or tuning.budget
    tuning.trials = options.trials or tuning.trials
    named = overridden(config, overrides, prog="scripts/tune.py --resume DIR")
    if (named.game, named.network.kind) != (config.game, config.network.kind):
        raise ConfigError(f"{folder} tunes {config.game} with the network {config.network.kind}, nothing else")
    game = game_of(config, config, folder / records.CONFIGURATION, given)
    fitting(game, config, str(folder))
    if tuning.yardstick not in YARDSTICKS:
        raise RunError(f"{folder / records.RECORD} names no objective that there is: {printable(tuning.yardstick)}")
    yardstick = yardstick_of(tuning.yardstick, game, config, positions=bool(tuning.positions))
    return Plan(folder, Saved(tuning, config, settings), game, yardstick, positions_for(tuning, game))


def names_of(overrides: Sequence[str]) -> set[str]:
    """The options among these arguments."""
    return {argument.partition("=")[0] for argument in overrides if argument.startswith("--")}


def fitting(game: Game, config: Config, name: str) -> None:
    """ConfigError if the configuration does not suit the game or this machine."""
    try:
        check_fit(game, config)
        check_opponents(game, config)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error


def positions_of(game: Game) -> Path | None:
    """The solved positions that come with the game, if there are some."""
    try:
        folder = Path(inspect.getfile(game.defined_by)).parent
    except (OSError, TypeError):  # defined in a notebook
        return None
    path = folder / "data" / re.sub(r"\W+", "_", game.name) / "positions.csv"
    return path if path.is_file() else None


def positions_for(tuning: Tuning, game: Game) -> SolvedPositions | None:
    """The solved positions that the tuning needs. ConfigError if its file has none of the game."""
    try:
        return load_positions(Path(tuning.positions), game) if tuning.positions else None
    except ValueError as error:
        raise ConfigError(f"--positions: {error}") from error


def tensorboard(folder: Path) -> str:
    return python_command("-m", "tensorboard.main", "--logdir", folder)


def introduce(tuner: Tuner, console: Console, *, again: bool) -> None:
    """Says what is tuned, by what, and how many trials there will be."""
    yardstick, positions = tuner.yardstick, tuner.positions
    console.print(f"{'Continuing to tune' if again else 'Tuning'} {tuner.game.name} in {tuner.folder}")
    for setting in tuner.settings:
        console.print(f"  {setting}")
    told = f"{yardstick.name}, the {yardstick.meaning}" + (f" ({len(positions.plies):,})" if positions else "")
    console.print(f"Objective: {told}; {'lower' if yardstick.lower else 'higher'} is better")
    console.print(tuner.forecast())
    console.print(f"Watch it with: {tensorboard(tuner.folder)}", soft_wrap=True)


def show_results(tuner: Tuner, console: Console) -> None:
    """The table of all trials, and what to do with the best."""
    tuning, folder, trials, yardstick = tuner.tuning, tuner.folder, tuner.trials, tuner.yardstick
    if not trials:
        console.print("No trial has been begun.")
        return
    weights = importances(tuner.settings, trials, lower=yardstick.lower)
    title = f"{tuner.game.name}: {yardstick.name}, {'lower' if yardstick.lower else 'higher'} is better"
    console.print(table.table(trials, tuner.settings, yardstick, weights, title))
    if weights:
        console.print("In brackets: the setting's share in what tells good trials from bad.")
    if best := table.best(trials, yardstick):
        console.print(f"The best: {best.name}, {table.worth(best, yardstick)}; {folder / records.BEST}", soft_wrap=True)
        minutes = ("--minutes", f"{tuning.minutes:g}") if tuning.minutes and not tuner.config.minutes else ()
        command = script_command("train.py", folder / records.BEST, *minutes)
        console.print(f"Train with its settings: {command}", soft_wrap=True)
    else:
        console.print("No trial came to its end.")
    console.print(f"All of them, on the page HPARAMS of TensorBoard: {tensorboard(folder)}", soft_wrap=True)
    again = script_command("tune.py", "--resume", folder)
    if trials[-1].state == "running" and tuner.left > 0:
        console.print(f"Stopped in {trials[-1].name}, everything saved. Go on: {again}", soft_wrap=True)
    elif tuner.asked:
        console.print(f"Stopped, everything saved. Go on: {again}", soft_wrap=True)
    else:
        more = [f"--trials {2 * tuning.trials}"] if len(trials) == tuning.trials else []
        if tuner.left < tuner.expected:
            more.append(f"--budget {round(tuning.budget / 30) or 1}m")  # twice as long
        console.print(f"Go on, with more in all: {again} {' '.join(more)}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
