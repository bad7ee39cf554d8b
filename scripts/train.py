"""Trains an agent by self-play.

    scripts/train.py CONFIG.toml [--run DIR] [--section.field value ...]
    scripts/train.py --resume DIR [--section.field value ...]
    scripts/train.py --resume URL [--run DIR]   a run that cluster.mirror copied there, into a folder here
    scripts/train.py [CONFIG.toml] --help     every field, with its unit and the papers' values

A run's folder is runs/NAME-DATE unless --run says otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import tyro
from rich.console import Console
from rich.table import Table

from alphazero.arena.match import MatchResult, SoloResult
from alphazero.config import Config, ConfigError, differences, load_config
from alphazero.game import Discrete, Game, load_game
from alphazero.game.conformance import ConformanceError, check_game
from alphazero.learner import LearningError
from alphazero.parallel.executor import Crew, CrewError
from alphazero.report.monitor import Monitor
from alphazero.report.terminal import match_table, solo_table
from alphazero.runs.checkpoint import create_run, read_config, restore, write_config
from alphazero.runs.files import RunError
from alphazero.runs.mirror import Mirror, check_protocol, fetch, is_url
from alphazero.trainer.asynchronous import AsynchronousTraining
from alphazero.trainer.synchronous import Stopped, Training


def main() -> int:
    return cli.run(
        command,
        errors=(ConformanceError, LearningError, CrewError),
        stopped="Stopped; the last checkpoint stands.",
    )


def command() -> None:
    given = sys.argv[1:]
    config_file = Path(given.pop(0)) if given and not given[0].startswith("-") else None
    parser = cli.Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--resume")
    known, overrides = parser.parse_known_args(given)
    console = Console()
    try:
        if {"-h", "--help"} & set(overrides):
            print(__doc__)
        elif (config_file is None) == (known.resume is None):
            parser.error("name either a configuration, as configs/connect_four.toml, or a run with --resume DIR")
        elif known.resume and known.run and not is_url(known.resume):
            parser.error("--resume DIR continues in that folder; leave --run away")
        resume = Path(known.resume) if known.resume else None
        if resume and is_url(known.resume):
            resume = known.run or Path("runs") / resume.name
            console.print(f"Copying {known.resume} to {resume} ...")
            fetch(known.resume, resume)
        saved = read_config(resume) if resume else load_config(config_file) if config_file else Config()
        config = overridden(saved, overrides)
        train(config, saved, resume=resume, run=known.run, name=config_file, console=console)
    except OSError as error:
        raise RunError(f"{error}; what was saved before is whole") from error
    except Stopped:
        raise KeyboardInterrupt from None


def overridden(config: Config, arguments: list[str]) -> Config:
    """The configuration with `--section.field value` from the command line; exits with a message if one is wrong."""
    style = (tyro.conf.FlagConversionOff, tyro.conf.AvoidSubcommands)
    return tyro.cli(
        Config, args=arguments, default=config, prog="scripts/train.py CONFIG.toml", config=style, use_underscores=True
    )


def train(
    config: Config, saved: Config, *, resume: Path | None, run: Path | None, name: Path | None, console: Console
) -> None:
    try:
        game = load_game(config.game)
    except ValueError as error:
        raise ConfigError(f"`game`: {error}") from error
    check_game(game, games=16)
    if config.cluster.mirror:
        check_protocol(config.cluster.mirror)
    folder = resume or run or Path("runs") / f"{name.stem if name else 'run'}-{datetime.now():%Y%m%d-%H%M%S}"
    try:
        kind = AsynchronousTraining if config.cluster.mode == "asynchronous" else Training
        training = kind(game, config, folder)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    warnings: list[str] = []
    if resume:
        training.progress = restore(
            folder, game, training.learner, training.replay, training.streams, say=warnings.append
        )
        if config.iterations < training.progress.iteration:
            raise ConfigError(
                f"{folder} has {training.progress.iteration} iterations behind it; --iterations must be at least that"
            )
        warnings += [f"changed {difference}" for difference in differences(saved, config)]
        write_config(folder, config)
    else:
        create_run(folder, config)
    with Monitor(
        folder, iterations=config.iterations, first_iteration=training.progress.iteration, console=console
    ) as monitor:
        for warning in warnings:
            monitor.say(warning)
        monitor.say(f"{'Continuing' if resume else 'Training'} {game.name} in {folder}")
        monitor.say(f"Watch it with: tensorboard --logdir {folder.parent}")
        with mirrored(training, monitor), crew_of(training, monitor) as crew:
            results = training.run(monitor, crew)
    if results:
        console.print(strength_table(game, results, config))
    if training.progress.iteration < config.iterations:
        done = training.progress.iteration
        console.print(f"Stopped after {done} of {config.iterations} iterations, everything saved.")
        console.print(f"Continue with: scripts/train.py --resume {folder}")
    console.print(f"The agent: {folder / 'agent.onnx'}")
    if isinstance(game.actions, Discrete):
        console.print(f"Play against it: scripts/play.py {folder}")


@contextmanager
def mirrored(training: Training, monitor: Monitor) -> Iterator[None]:
    """Copies every checkpoint to where the configuration says, if it does."""
    url = training.config.cluster.mirror
    if not url:
        yield
        return
    mirror = Mirror(training.folder, url, say=monitor.say)
    training.after_saving = mirror.update
    mirror.update()  # tells at once if it cannot
    try:
        yield
    finally:
        mirror.update()  # the agent and the last figures too
        mirror.close(wait=not training.stop_now.is_set())


def crew_of(training: Training, monitor: Monitor) -> AbstractContextManager[Crew | None]:
    """Ray's workers, or nobody: then the run makes do with this process. Ray is loaded only if it is used."""
    if not training.config.distributed:
        return nullcontext()
    from alphazero.parallel.ray_setup import training_crew

    return training_crew(training, say=monitor.say, log=training.folder / "ray.log")


def strength_table(game: Game, results: dict[str, MatchResult | SoloResult], config: Config) -> Table:
    """How the agent and its network alone fare against each opponent, in all and by colour; or by themselves."""
    players = {"strength": f"agent:{config.evaluation.simulations}", "network": "network"}
    rows = [(*tag.split("/", 1), result) for tag, result in results.items()]
    if alone := [(players[player], result) for player, _, result in rows if isinstance(result, SoloResult)]:
        return solo_table(alone, game.name)
    matches = [(players[player], other, result) for player, other, result in rows if isinstance(result, MatchResult)]
    return match_table(matches, game.name)


if __name__ == "__main__":
    sys.exit(main())
