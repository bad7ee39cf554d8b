"""Which games the files of a run or an agent may ask for: code is imported only where the user wants it.

A file may ask for a game that this project or an installed package registers. Any other is the user's to name. For
which folders that was done is kept outside of them, in a file of the user's own: no folder can speak for itself.
"""

from __future__ import annotations

import json
import logging
import shlex
from contextlib import suppress
from pathlib import Path

from alphazero.game import Game, load_game
from alphazero.game.loading import parse_game_path, registered_games
from alphazero.game.own_files import own_folder, write_own
from alphazero.runs.files import RunError

_log = logging.getLogger(__name__)


def load_game_of(file: Path, path: str, *, named: str | None = None) -> Game:
    """The game that the file of a run or an agent asks for by its import path.

    named: the game that the user names, which is taken instead; if it is the same, it is trusted for the folder.
    RunError, before anything is imported, if the file may not ask for it (`check`), or if it cannot be loaded.
    ValueError if the named one cannot be loaded.
    """
    if named is not None:
        game = load_game(named)
        if named == path:
            trust(file.parent, path)
        return game
    check(file, path)
    try:
        return load_game(path)
    except ValueError as error:
        raise RunError(f"{file}: {error}") from error


def check(file: Path, path: str) -> None:
    """RunError unless the file may ask for this game: a registered one, or one that the user named for its folder."""
    try:
        code = parse_game_path(path).code
    except ValueError as error:
        raise RunError(f"{file}: {error}") from error
    if code not in registered_games() and code != _trusted().get(_key(file.parent)):
        why = "which neither this project nor an installed package registers, so it is not imported"
        fix = f"if you trust its code, say so: --game {shlex.quote(path)}"
        raise RunError(f"{file} asks for the game {path}, {why}; {fix}")


def trust(folder: Path, path: str) -> None:
    """Keeps that the user has named this game for this folder, unless files may ask for it anyway."""
    known, code = _trusted(), parse_game_path(path).code
    if code in registered_games() or known.get(_key(folder)) == code:
        return
    try:
        write_own(_state_file(), json.dumps(known | {_key(folder): code}, indent=1).encode())
    except (OSError, RuntimeError) as error:
        _log.warning("cannot keep that %s may use %s (%s): name it each time, --game %s", folder, code, error, path)


def _key(folder: Path) -> str:
    return str(folder.resolve())


def _state_file() -> Path:
    """The file of the user's own. RuntimeError if there is no home."""
    return own_folder("XDG_STATE_HOME", ".local/state") / "games.json"


def _trusted() -> dict[str, str]:
    """The game of each folder; none where the file cannot be read."""
    with suppress(OSError, RuntimeError, ValueError, RecursionError):
        known = json.loads(_state_file().read_bytes())
        if isinstance(known, dict) and all(isinstance(path, str) for path in known.values()):
            return known
    return {}
