"""Games by their import path, as configurations and agents name them.

A game is code. So nothing is imported from the folder of a run or of an agent, which may come from a stranger; and of
the games that are asked for in files, `registered_games` tells those that this project and installed packages offer.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TypeGuard

from alphazero.game.interface import Game

GROUP = "alphazero.games"  # of entry points, which register games
CONFIG, CHECKPOINTS, CARD = "config.toml", "checkpoints", "agent.json"  # by which folders of runs and agents are known
LONGEST = 200  # characters of an import path
ROOT = Path(__file__).resolve().parents[2]  # where the engine is installed, or its checkout


def load_game(path: str) -> Game:
    """The game at an import path such as `games.connect_four:ConnectFour`. ValueError otherwise.

    This imports whatever module is named, unless it lies in the folder of a run or of an agent.
    """
    check_import_path(path)
    shown, (module_name, _, class_name) = f"game {path!r}", path.partition(":")
    with _nothing_from_runs():
        try:
            module = import_module(module_name)
        except InRunError as error:
            raise ValueError(f"{shown}: {error}") from error
        except Exception as error:  # whatever a stranger's module raises
            told = f"cannot import {module_name!r} ({error!r}); is its folder on the path?"
            raise ValueError(f"{shown}: {told}") from error
        game_class = getattr(module, class_name, None)
        if game_class is None:
            offered = ", ".join(name for name, value in vars(module).items() if _is_game(value) and value is not Game)
            raise ValueError(f"{shown}: {module_name} has no {class_name!r}; it offers {offered or 'no game'}")
        if not _is_game(game_class):
            raise ValueError(f"{shown}: {class_name} is not a subclass of alphazero.game.Game")
        if missing := sorted(game_class.__abstractmethods__):
            raise ValueError(f"{shown}: {class_name} lacks {', '.join(missing)}")
        try:
            return game_class()
        except Exception as error:
            raise ValueError(f"{shown}: making a {class_name} failed: {error!r}") from error


def check_import_path(path: str) -> None:
    """ValueError if no game can be named so. Imports nothing."""
    module_name, _, class_name = path.partition(":")
    parts = *module_name.split("."), class_name
    if len(path) > LONGEST or not all(part.isidentifier() for part in parts):
        shown = repr(path[:LONGEST]) + "…" * (len(path) > LONGEST)
        raise ValueError(f"game {shown} is no import path; write it as package.module:Class")


def registered_games() -> set[str]:
    """The import paths of the games that this project and installed packages register. Imports none of them.

    A package registers its games as entry points of the group `alphazero.games`.
    """
    found = {
        entry.value
        for entry in entry_points(group=GROUP)
        if entry.dist is None or run_around(Path(str(entry.dist.locate_file("")))) is None
    }
    # An editable install does not know what pyproject.toml has registered since it was made.
    with suppress(OSError, ValueError, KeyError):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        if project["name"] == "alphazero":
            found.update(project["entry-points"][GROUP].values())
    return found


def is_loaded_as(path: str, game: Game) -> bool:
    """Whether the game's class has been imported already and is what the import path names. Imports nothing."""
    module_name, _, class_name = path.partition(":")
    return getattr(sys.modules.get(module_name), class_name, None) is type(game)


def run_around(path: Path) -> Path | None:
    """The folder of a run or an agent that the path is or lies in; None if there is none.

    A folder that holds the engine itself, or the Python that runs, is none, whatever else is in it.
    """
    place = path.resolve()
    for folder in (place, *place.parents):
        if _is_run(folder) and not any(own.resolve().is_relative_to(folder) for own in (ROOT, Path(sys.prefix))):
            return folder
    return None


def _is_run(folder: Path) -> bool:
    run = os.path.isfile(folder / CONFIG) and os.path.isdir(folder / CHECKPOINTS)
    return run or os.path.isfile(folder / CARD)


class InRunError(ImportError):
    """A module lies in the folder of a run or an agent."""


class _RefusesRuns(MetaPathFinder):
    """Finds what the other finders find, and refuses what lies in the folder of a run or an agent."""

    def __init__(self) -> None:
        self.run_around = cache(lambda folder: run_around(Path(folder)))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        others = (finder for finder in sys.meta_path if not isinstance(finder, _RefusesRuns))
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None:
            folders = [*(spec.submodule_search_locations or ())]
            if spec.has_location and spec.origin:
                folders += [os.path.dirname(spec.origin), os.path.dirname(os.path.realpath(spec.origin))]
            for run in filter(None, map(self.run_around, folders)):
                fix = "which may be a stranger's: nothing is imported from there; keep your own code elsewhere"
                raise InRunError(f"{fullname} lies in {run}, the folder of a run or an agent, {fix}")
        return spec


@contextmanager
def _nothing_from_runs() -> Iterator[None]:
    refuses = _RefusesRuns()
    # New lists: another thread may be importing, and going through the one that is there.
    sys.meta_path = [refuses, *sys.meta_path]
    try:
        yield
    finally:
        sys.meta_path = [finder for finder in sys.meta_path if finder is not refuses]


def _is_game(value: object) -> TypeGuard[type[Game]]:
    return isinstance(value, type) and issubclass(value, Game)
