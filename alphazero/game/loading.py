"""Games by their import path, as configurations and agents name them."""

from __future__ import annotations

import importlib

from alphazero.game.interface import Game


def load_game(path: str) -> Game:
    """The game at an import path such as `games.connect_four:ConnectFour`. ValueError otherwise."""
    module_name, colon, class_name = path.partition(":")
    if not (module_name and colon and class_name) or module_name.startswith("."):
        raise ValueError(f"game {path!r} is no import path; write it as package.module:Class")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a stranger's module raises
        raise ValueError(
            f"game {path!r}: cannot import {module_name!r} ({error!r}); is its folder on the path?"
        ) from error
    game_class = getattr(module, class_name, None)
    if game_class is None:
        offered = [n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Game) and v is not Game]
        raise ValueError(
            f"game {path!r}: {module_name} has no {class_name!r}; it offers {', '.join(offered) or 'no game'}"
        )
    if not (isinstance(game_class, type) and issubclass(game_class, Game)):
        raise ValueError(f"game {path!r}: {class_name} is not a subclass of alphazero.game.Game")
    if missing := sorted(game_class.__abstractmethods__):
        raise ValueError(f"game {path!r}: {class_name} lacks {', '.join(missing)}")
    try:
        return game_class()
    except Exception as error:
        raise ValueError(f"game {path!r}: making a {class_name} failed: {error!r}") from error
