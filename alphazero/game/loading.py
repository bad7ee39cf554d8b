"""Games by their import path, as configurations and agents name them."""

from __future__ import annotations

import importlib
from typing import TypeGuard

from alphazero.game.interface import Game


def load_game(path: str) -> Game:
    """The game at an import path such as `games.connect_four:ConnectFour`. ValueError otherwise."""
    module_name, colon, class_name = path.partition(":")
    if not (module_name and colon and class_name) or module_name.startswith("."):
        raise ValueError(f"game {path!r} is no import path; write it as package.module:Class")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a stranger's module raises
        told = f"cannot import {module_name!r} ({error!r}); is its folder on the path?"
        raise ValueError(f"game {path!r}: {told}") from error
    game_class = getattr(module, class_name, None)
    if game_class is None:
        offered = ", ".join(name for name, value in vars(module).items() if _is_game(value) and value is not Game)
        raise ValueError(f"game {path!r}: {module_name} has no {class_name!r}; it offers {offered or 'no game'}")
    if not _is_game(game_class):
        raise ValueError(f"game {path!r}: {class_name} is not a subclass of alphazero.game.Game")
    if missing := sorted(game_class.__abstractmethods__):
        raise ValueError(f"game {path!r}: {class_name} lacks {', '.join(missing)}")
    try:
        return game_class()
    except Exception as error:
        raise ValueError(f"game {path!r}: making a {class_name} failed: {error!r}") from error


def _is_game(value: object) -> TypeGuard[type[Game]]:
    return isinstance(value, type) and issubclass(value, Game)
