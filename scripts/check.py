"""Checks a game of your own: plays random games, holds it to every promise, and says what it saw.

    scripts/check.py package.module:Class [--games N] [--seed N]
    scripts/check.py --game package.module:Class

A broken promise is named with the function and the position; the exit code is then 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # called by its path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split

from rich.text import Text

from alphazero.game import load_game
from alphazero.game.conformance import ConformanceError, check_game
from alphazero.report.terminal import Bars

EXAMPLE = "games.tic_tac_toe:TicTacToe"


def main() -> int:
    return cli.run(check, errors=(ConformanceError,))


def check() -> None:
    parser = cli.Parser(description=__doc__)
    game = cli.option(load_game)
    parser.add_argument(
        "path", type=game, nargs="?", metavar="GAME", help="the game, such as games.tic_tac_toe:TicTacToe"
    )
    parser.add_argument("--game", type=game, help="the same")
    parser.add_argument(
        "--games", type=cli.whole(1, 1_000_000), default=200, help="random games to play (default: 200)"
    )
    parser.add_argument("--seed", type=cli.seed, default=0, help="seed of the random games (default: 0)")
    arguments = parser.parse_args()
    if (arguments.path is None) == (arguments.game is None):
        parser.error(f"name one game, such as {EXAMPLE}")
    console = cli.console()
    with Bars(console) as bars:
        task = bars.add_task("random games", total=None)
        summary = check_game(
            arguments.path or arguments.game,
            games=arguments.games,
            seed=arguments.seed,
            show=lambda description, done, total: bars.update(
                task, description=description, completed=done, total=total
            ),
        )
    text = Text(str(summary))
    text.highlight_regex(r"(?m)^! .*(\n  \S.*)*", "bold yellow")  # the warnings
    console.print(text, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
