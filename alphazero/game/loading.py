"""Games by their import path, as configurations and agents name them: `package.module:Class`, or `...:Class(side=8)`.

A game is code. So nothing is imported from the folder of a run or of an agent, which may come from a stranger; and of
the games that are asked for in files, `registered_games` tells those that this project and installed packages offer.
Networks of one's own are code as well, and are found in the same way (`network.loading`).
"""

from __future__ import annotations

import ast
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
from typing import Any, NamedTuple

from alphazero.game.batched import as_game
from alphazero.game.interface import Game
from alphazero.game.python_game import PythonGame

DISTRIBUTION = "alphazero-engine"  # as pip calls it
GROUP = "alphazero.games"  # of entry points, which register games
CONFIG, CHECKPOINTS, CARD = "config.toml", "checkpoints", "agent.json"  # by which folders of runs and agents are known
LONGEST = 200  # characters of an import path
BASES = {
    "game": "alphazero.game.Game or PythonGame",
    "network": "torch.nn.Module",
}  # what classes are made from, for messages
ROOT = Path(__file__).resolve().parents[2]  # where the engine is installed, or its checkout


class ImportPath(NamedTuple):
    """What an import path names: a class, and the arguments that it is made with.

    code: `package.module:Class`, without arguments.
    """

    code: str
    positional: tuple[Any, ...]
    keywords: dict[str, Any]

    @property
    def module(self) -> str:
        return self.code.partition(":")[0]

    @property
    def class_name(self) -> str:
        return self.code.partition(":")[2]


def load_game(path: str) -> Game:
    """The game at an import path such as `games.connect_four:ConnectFour` or `games.othello:Othello(side=8)`.

    This imports whatever module is named, unless it lies in the folder of a run or of an agent. ValueError otherwise.
    """
    named, shown = parse_path(path), f"game {path!r}"
    with nothing_from_runs():
        game_class = imported_class(named, (Game, PythonGame), "game")
        if missing := sorted(game_class.__abstractmethods__):
            raise ValueError(f"{shown}: {named.class_name} lacks {', '.join(missing)}")
        try:
            return as_game(game_class(*named.positional, **named.keywords))
        except Exception as error:
            raise ValueError(f"{shown}: making a {named.class_name} failed: {error!r}") from error


def imported_class(named: ImportPath, bases: tuple[type, ...], word: str) -> type[Any]:
    """The class of this name, after importing its module. ValueError if it is no subclass of one of the `bases`.

    word: what such a class is, for messages. To be called within `nothing_from_runs`.
    """
    shown = f"{word} {named.code!r}"
    try:
        module = import_module(named.module)
    except InRunError as error:
        raise ValueError(f"{shown}: {error}") from error
    except Exception as error:  # whatever a stranger's module raises
        told = f"cannot import {named.module!r} ({error!r}); is its folder on the path?"
        raise ValueError(f"{shown}: {told}") from error
    found = getattr(module, named.class_name, None)
    if found is None:
        classes = (name for name, value in vars(module).items() if _is_a(value, bases) and value not in bases)
        offered = ", ".join(classes) or f"no {word}"
        raise ValueError(f"{shown}: {named.module} has no {named.class_name!r}; it offers {offered}")
    if not _is_a(found, bases):
        raise ValueError(f"{shown}: {named.class_name} is not a subclass of {BASES[word]}")
    return found  # type: ignore[no-any-return]


def parse_path(path: str, word: str = "game") -> ImportPath:
    """What the import path names. Imports nothing. ValueError if nothing can be named so."""
    shown = f"{word} {path[:LONGEST]!r}" + "…" * (len(path) > LONGEST)
    code, bracket, _ = path.partition("(")
    module, _, class_name = code.partition(":")
    if len(path) > LONGEST or not all(part.isidentifier() for part in (*module.split("."), class_name)):
        raise ValueError(f"{shown} is no import path; write it as package.module:Class or package.module:Class(side=8)")
    if not bracket:
        return ImportPath(code, (), {})
    try:
        call = ast.parse(path.partition(":")[2], mode="eval").body
        if not isinstance(call, ast.Call) or ast.unparse(call.func) != class_name:
            raise ValueError("more than a class and its arguments")
        if any(keyword.arg is None for keyword in call.keywords):
            raise ValueError("an argument without a name")
        positional = tuple(map(ast.literal_eval, call.args))
        keywords = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        told = f"the arguments of a {word} must be plain values, such as 8, 'text' or True"
        raise ValueError(f"{shown}: {told} ({error})") from error
    return ImportPath(code, positional, keywords)


def registered_games() -> set[str]:
    """The import paths of the games that this project and installed packages register. Imports none of them.

    A package registers its games as entry points of the group `alphazero.games`.
    """
    return registered(GROUP)


def registered(group: str) -> set[str]:
    """The import paths that this project and installed packages register as entry points of the group."""
    found = {
        entry.value
        for entry in entry_points(group=group)
        if entry.dist is None or run_around(Path(str(entry.dist.locate_file("")))) is None
    }
    # An editable install does not know what pyproject.toml has registered since it was made.
    with suppress(OSError, ValueError, KeyError):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        if project["name"] == DISTRIBUTION:
            found.update(project["entry-points"][group].values())
    return found


def is_loaded_as(path: str, game: Game) -> bool:
    """Whether the import path names this game, whose class has been imported already. Imports nothing."""
    try:
        named = parse_path(path)
        if getattr(sys.modules.get(named.module), named.class_name, None) is not game.defined_by:
            return False
        made = load_game(path)
    except ValueError:
        return False
    return (made.name, made.actions, made.observation_shape) == (game.name, game.actions, game.observation_shape)


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
def nothing_from_runs() -> Iterator[None]:
    """A context in which nothing is imported from the folder of a run or an agent."""
    refuses = _RefusesRuns()
    # New lists: another thread may be importing, and going through the one that is there.
    sys.meta_path = [refuses, *sys.meta_path]
    try:
        yield
    finally:
        sys.meta_path = [finder for finder in sys.meta_path if finder is not refuses]


def _is_a(value: object, bases: tuple[type, ...]) -> bool:
    return isinstance(value, type) and issubclass(value, bases)
