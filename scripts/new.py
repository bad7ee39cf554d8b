"""Begins a game of your own: rules to change, a configuration to train it with, and a test, all of which run.

    scripts/new.py NAME [--folder DIR]

NAME is that of a module, such as my_game; its class is then MyGame.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # called by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import inspect
import keyword
from importlib.util import find_spec

from rich.console import Console

from alphazero.shell.commands import python_command, script_command
from games import template

CONFIGURATION = """# Trains NewGame, in a minute or two on two CPU cores. See `alphazero train --help`.

game = "new_game:NewGame"
iterations = 20

[search]
simulations = 32

[network]
kind = "dense" # "residual" is for boards of more than a few cells
blocks = 3
width = 96

[self_play]
streams = 2
parallel_games = 128
moves = 12
opening_moves = 4 # random moves at the start of most games, so that they differ

[replay]
start = 8_000
window = 60_000

[learner]
replay_ratio = 4.0
learning_rate = 3e-3

[evaluation]
opponents = ["random", "minimax:3"]
every = 10
"""

TEST = '''"""The rules of NewGame are the ones that are meant, and keep what the engine relies on."""

from alphazero.game import check_game
from new_game import NewGame


def test_every_promise_is_kept():
    check_game(NewGame())


def test_three_in_a_row_win():
    rules = NewGame()
    position = rules.initial()
    for action in (0, 3, 1, 4, 2):  # x has the top row
        assert rules.winner(position) is None
        position = rules.play(position, action)
    assert rules.winner(position) == 0
'''


def main() -> int:
    return cli.run(new)


def new() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("name", type=cli.option(module_name), metavar="NAME", help="the module, such as my_game")
    parser.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="where to write it (default: here)")
    options = parser.parse_args()
    name, folder = options.name, options.folder
    module = inspect.getsource(template)
    rules = f'"""The rules of {class_name(name)}."""\n' + module[module.index('"""\n', 3) + 4 :]
    files = {f"{name}.py": rules, f"{name}.toml": CONFIGURATION, f"test_{name}.py": TEST}
    if there := [file for file in files if (folder / file).exists()]:
        parser.error(f"{folder / there[0]} is there already; choose another name, or another --folder")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (folder / file).write_text(
            text.replace("NewGame", class_name(name)).replace("new_game", name), encoding="utf-8"
        )
    console = cli.console()
    console.print(f"{', '.join(files)} are in {folder.resolve()}. From there:\n", soft_wrap=True)
    for about, command in (
        ("change the rules, and see what random games show", script_command("check.py", f"{name}:{class_name(name)}")),
        ("test them", python_command("-m", "pytest", f"test_{name}.py")),
        ("train", script_command("train.py", f"{name}.toml", "--run", f"runs/{name}")),
        ("play", script_command("play.py", f"runs/{name}")),
    ):
        show(console, about, command)


def show(console: Console, about: str, command: str) -> None:
    console.print(f"  {command}\n      {about}", soft_wrap=True)


def module_name(text: str) -> str:
    """The name of a module that is not there yet, as an option's `type`."""
    if not text.isidentifier() or keyword.iskeyword(text) or text != text.lower():
        raise ValueError(f"{text!r} is no name of a module; small letters, digits and underscores make one: my_game")
    if text in sys.stdlib_module_names or find_spec(text) is not None:
        raise ValueError(f"a module {text!r} is there already, which the new one would hide; choose another name")
    return text


def class_name(module: str) -> str:
    """MyGame of my_game."""
    return "".join(word.capitalize() for word in module.split("_"))


if __name__ == "__main__":
    sys.exit(main())
