"""Which games and networks the files of a run or an agent may ask for: code is imported only where the user wants it.

A file may ask for a game that this project or an installed package registers, and for a network of that kind. Any other
is the user's to name. For which folders that was done is kept outside of them, in files of the user's own: no folder
can speak for itself.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from alphazero.config import NetworkConfig
from alphazero.game import Game, load_game
from alphazero.game.loading import parse_path, registered_games
from alphazero.game.own_files import own_folder, write_own
from alphazero.network.loading import is_loaded, load_network_class, registered_networks
from alphazero.runs.files import RunError

_log = logging.getLogger(__name__)


class Kind(NamedTuple):
    """A kind of code that files ask for.

    word:       what it is. option: the one that names it.
    registered: the import paths that files may ask for in any case.
    """

    word: str
    option: str
    registered: Callable[[], set[str]]


GAMES = Kind("game", "--game", registered_games)
NETWORKS = Kind("network", "--network.kind", registered_networks)


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


def allow_network(file: Path, network: NetworkConfig, *, named: str | None = None) -> None:
    """Lets the engine import the network that the file of a run asks for, if it is a class of somebody's own.

    named: the network that the user names: if it is the same, it is trusted for the folder.
    RunError, before anything is imported, if the file may not ask for it (`check`), or if it cannot be loaded.
    """
    if not network.own:
        return
    if named != network.kind and not is_loaded(network.kind):
        check(file, network.kind, NETWORKS)
    try:
        load_network_class(network.kind)
    except ValueError as error:
        raise RunError(f"{file}: {error}") from error
    if named == network.kind:
        trust(file.parent, network.kind, NETWORKS)


def check(file: Path, path: str, kind: Kind = GAMES) -> None:
    """RunError unless the file may ask for this game or network."""
    try:
        permitted = allowed(file, path, kind)
    except ValueError as error:
        raise RunError(f"{file}: {error}") from error
    if not permitted:
        why = "which neither this project nor an installed package registers, so it is not imported"
        fix = f"if you trust its code, say so: {kind.option} {shlex.quote(path)}"
        raise RunError(f"{file} asks for the {kind.word} {path}, {why}; {fix}")


def allowed(file: Path, path: str, kind: Kind = GAMES) -> bool:
    """Whether it is registered, or was named by the user for the file's folder. ValueError if it is no import path."""
    code = parse_path(path, kind.word).code
    return code in kind.registered() or code == _trusted(kind).get(_key(file.parent))


def trust(folder: Path, path: str, kind: Kind = GAMES) -> None:
    """Keeps that the user has named this game or network for this folder, unless files may ask for it anyway."""
    known, code = _trusted(kind), parse_path(path, kind.word).code
    if code in kind.registered() or known.get(_key(folder)) == code:
        return
    try:
        write_own(_state_file(kind), json.dumps(known | {_key(folder): code}, indent=1).encode())
    except (OSError, RuntimeError) as error:
        told = "cannot keep that %s may use %s (%s): name it each time, %s %s"
        _log.warning(told, folder, code, error, kind.option, path)


def _key(folder: Path) -> str:
    return str(folder.resolve())


def _state_file(kind: Kind) -> Path:
    """The file of the user's own. RuntimeError if there is no home."""
    return own_folder("XDG_STATE_HOME", ".local/state") / f"{kind.word}s.json"


def _trusted(kind: Kind) -> dict[str, str]:
    """The game or the network of each folder; none where the file cannot be read."""
    with suppress(OSError, RuntimeError, ValueError, RecursionError):
        known = json.loads(_state_file(kind).read_bytes())
        if isinstance(known, dict) and all(isinstance(path, str) for path in known.values()):
            return known
    return {}
