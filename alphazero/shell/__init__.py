"""Play and explore in a terminal: two shells over one board.

    PlayShell       two seats, each a person or a player
    ExploreShell    one position after another, and what the agent thinks of it

Both read a command a line, from a person or a pipe, and print plain text where there is no terminal.
A command `undo` is the method `do_undo`, and its docstring is what `help` says of it: how it is
typed, a colon, what it does.
"""

from alphazero.shell.explore import ExploreShell as ExploreShell
from alphazero.shell.play import HUMAN as HUMAN
from alphazero.shell.play import PlayShell as PlayShell
