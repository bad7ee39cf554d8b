"""The common part of both shells: the board, the commands about the record of moves, and the display of errors."""

from __future__ import annotations

import cmd
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress

from rich.console import Console
from rich.table import Table
from rich.text import Text

from alphazero.arena.players import SearchBudget
from alphazero.arena.registry import expanded
from alphazero.arena.solved import review
from alphazero.game.grid import read_grid
from alphazero.game.messages import printable, unquoted
from alphazero.game.record import Record
from alphazero.mcts.tree_search import SearchResult
from alphazero.report.terminal import measured
from alphazero.runs.files import RunError
from alphazero.shell.explorer import Explorer

MARK_STYLES = {"x": "bold bright_blue", "o": "bold yellow"}


class Shell(cmd.Cmd):
    """A board, moves that are typed by their names, and commands about the record of moves.

    A line that is wrong is answered with one line, and the game goes on.
    """

    def __init__(self, explorer: Explorer, record: Record, console: Console, *, budget: SearchBudget) -> None:
        super().__init__()
        self.explorer, self.agent, self.game = explorer, explorer.agent, explorer.agent.game
        self.record, self.console, self.budget = record, console, budget
        self.stopped = False  # by Ctrl-C, during a computation
        self.typed = sys.stdin.isatty()
        if not self.typed:
            self.prompt = ""

    # ------------------------------------------------------------------------- reading lines

    def run(self) -> None:
        """Reads lines until `quit` or the end of the input; Ctrl-C ends a computation, and at the prompt the shell."""
        start = self.begin
        while True:
            try:
                start()
                return self.cmdloop()
            except KeyboardInterrupt:
                self.say()
                if not self.stopped:
                    return None
                self.stopped, start = False, self.interrupted

    def begin(self) -> None:
        """Called before the first prompt."""
        self.move_to(self.record)

    def interrupted(self) -> None:
        """Called after Ctrl-C has ended a computation."""

    def precmd(self, line: str) -> str:
        if not self.typed and line != "EOF":
            self.say(f"> {unquoted(line)}")
        return line

    def onecmd(self, line: str) -> bool:
        """Runs a line; True ends the shell. An action's name plays it, even if a command has the same name."""
        line, stop = line.strip(), False
        word, _, rest = line.partition(" ")
        with self.complaining():
            if (action := self.named_action(line)) is not None:
                self.play(action)
            elif word.lower() in self.commands():
                command = getattr(self, f"do_{word.lower()}")
                if rest.strip() and command.__doc__.startswith(f"{word.lower()}: "):
                    raise ValueError(f"`{word.lower()}` takes nothing after it, such as {printable(rest.strip())}")
                stop = bool(command(rest.strip()))
            elif line == "EOF":
                self.say()
                stop = True
            elif line:
                wrong = f"{printable(line)} is no move and no command"
                raise ValueError(f"{wrong}; {self.legal()}; `help` lists the commands")
        return stop

    def named_action(self, line: str) -> int | None:
        """The action with this name, or with the name in small letters."""
        for text in (line, line.lower()):
            with suppress(ValueError):
                return self.game.parse_action(text) if text else None
        return None

    @contextmanager
    def complaining(self) -> Iterator[None]:
        """Prints an error in one line, and goes on."""
        try:
            yield
        except BrokenPipeError:  # nobody reads any more
            raise
        except (ValueError, RunError, OSError) as error:
            self.say(Text(f"{error}", style="red"))
        except Exception as error:  # of a user's own game or player
            self.say(Text(f"{self.game.name} failed: {error!r}", style="red"))

    def commands(self) -> list[str]:
        return [name.removeprefix("do_") for name in self.get_names() if name.startswith("do_")]

    def play(self, action: int) -> None:
        self.record.play(action)
        self.move_to(self.record)

    # ---------------------------------------------------------------------------- commands

    def do_help(self, argument: str) -> None:
        """help [COMMAND]: what there is to type"""
        names = self.commands()
        if argument and argument not in names:
            raise ValueError(f"there is no command {printable(argument)}; commands: {', '.join(names)}")
        helps = [getattr(self, f"do_{name}").__doc__ for name in ([argument] if argument else names)]
        moves = [] if argument else [f"a move: plays it; {self.legal()}"]
        self.explain(text.split(": ", maxsplit=1) for text in moves + helps)

    def explain(self, rows: Iterable[Sequence[str]]) -> None:
        """Prints terms and what each means."""
        table = Table.grid(padding=(0, 2))
        for term, meaning in rows:
            table.add_row(Text(term, style="cyan"), Text(" ".join(meaning.split())))
        self.console.print(table)

    def do_board(self, argument: str) -> None:
        """board: shows the board again"""
        self.show()

    def do_moves(self, argument: str) -> None:
        """moves: prints the moves so far, to be loaded again"""
        self.say(self.record.moves or "no move yet")

    def do_save(self, argument: str) -> None:
        """save [FILE]: writes the moves to a new file; without one, prints them"""
        if not argument:
            return self.do_moves("")
        try:
            with expanded(argument).open("x", encoding="utf-8") as file:
                file.write(self.record.moves + "\n")
        except FileExistsError:
            raise ValueError(f"{printable(argument)} is there already, and stays as it is; name a new file") from None
        except OSError as error:
            raise ValueError(f"{printable(argument)} cannot be written: {error.strerror}") from error
        self.say(f"saved to {argument}")

    def do_load(self, argument: str) -> None:
        """load MOVES or FILE: goes to the position after these moves from the start"""
        if not argument:
            raise ValueError("load what? moves as in `moves`, or a file")
        try:
            record = Record(self.game, argument)
        except ValueError as no_moves:
            try:
                text = expanded(argument).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                raise ValueError(f"{printable(argument)} is no file to read, nor moves: {no_moves}") from None
            record = Record(self.game, text)
        self.move_to(record)

    def do_undo(self, argument: str) -> None:
        """undo [N]: takes the last move back, or the last N"""
        self.record.undo(times(argument))
        self.move_to(self.record)

    def do_restart(self, argument: str) -> None:
        """restart: a new game"""
        self.move_to(Record(self.game))

    def do_flip(self, argument: str) -> None:
        """flip [N]: turns the board into its mirror image, by the game's first or N-th symmetry"""
        count = len(self.game.symmetries())
        if argument and not (argument.isdecimal() and 1 <= int(argument) <= count):
            raise ValueError(f"{printable(argument)} is no symmetry of {self.game.name}; it has {count}")
        self.move_to(self.record.mirrored(int(argument or 1) - 1))

    def do_review(self, argument: str) -> None:
        """review: the game's mistakes against perfect play (needs a solver)"""
        if not self.record.actions:
            raise ValueError("there is no move to review yet")
        with self.thinking("solving"):
            moves = review(self.record)
        table = Table("move", "by", "played", "score", "was", "became", "best", box=None, pad_edge=False)
        for number, move in enumerate(moves, start=1):
            cells = [str(number), self.seat_name(move.seat), self.game.action_name(move.action), f"{move.score:+g}"]
            cells += [OUTCOMES[move.before], OUTCOMES[move.after], " ".join(map(self.game.action_name, move.best))]
            table.add_row(*map(Text, cells), style="red" if move.mistake else "")
        self.console.print(table)
        mistakes = [str(number) for number, move in enumerate(moves, start=1) if move.mistake]
        self.say(f"mistakes at moves {', '.join(mistakes)}" if mistakes else "no mistakes")

    def do_quit(self, argument: str) -> bool:
        """quit: ends"""
        return True

    # ----------------------------------------------------------------------------- showing

    def move_to(self, record: Record) -> None:
        self.record = record
        self.show()

    def say(self, text: str | Text = "") -> None:
        text = Text(text) if isinstance(text, str) else text  # in which nothing is markup
        self.console.print(text, soft_wrap=not self.console.is_terminal, highlight=False)

    def show(self) -> None:
        """Prints the board, and a line about it."""
        self.say()
        self.say(draw(self.record, colours=self.console.color_system is not None))
        self.say(self.status())

    def status(self) -> str:
        if self.record.finished:
            return self.result()
        last = f"last move {self.game.action_name(self.record.actions[-1])} · " if self.record.actions else ""
        return f"move {len(self.record.actions) + 1} · {last}{self.seat_name(self.record.seat)} to move"

    def result(self) -> str:
        score, moves = self.record.score, len(self.record.actions)
        if self.game.num_players == 1:
            units, metrics = self.game.metric_units, self.game.metrics(self.record.state)
            own = [f", {name} {measured(float(value), units.get(name, ''))}" for name, value in metrics.items()]
            return f"over after {moves} moves, with a reward of {score:g}{''.join(own)}"
        if score == 0:
            return f"a draw after {moves} moves"
        return f"{self.seat_name(0 if score > 0 else 1)} wins after {moves} moves"

    def seat_name(self, seat: int) -> str:
        """x or o where the board shows these, otherwise in words."""
        if self.game.num_players == 1:
            return "the player"
        if read_grid(self.game.render(self.record.state)):
            return "xo"[seat]
        return ("the first player", "the second player")[seat]

    def legal(self) -> str:
        names = [self.game.action_name(action) for action in self.record.legal()]
        return f"legal moves: {', '.join(names)}" if names else "the game is over"

    def line(self, actions: Sequence[int]) -> str:
        """The first dozen of the actions."""
        return " ".join([*map(self.game.action_name, actions[:12]), *["…"] * (len(actions) > 12)])

    def expectation(self, value: float) -> str:
        """A value as text; in a game of two with the share of the points that it stands for."""
        share = f" ({50 * (1 + value):.0f} % of the points)" if self.game.num_players == 2 else ""
        return f"{value:+.2f}{share}"

    def proof(self, found: SearchResult) -> str:
        """What the search has proven about its position, for the player to move; empty if nothing."""
        value, plies = float(found.value[0]), int(found.plies[0])
        if not found.proven[0]:
            return ""
        if self.game.num_players == 1:
            return f"{value:+.2f} for sure"
        if not value:
            return "a sure draw"
        return f"a sure {'win' if value > 0 else 'loss'} within {plies} move{'s' * (plies > 1)}"

    @contextmanager
    def thinking(self, text: str) -> Iterator[None]:
        """Surrounds a computation that Ctrl-C may end; a terminal shows a spinner meanwhile."""
        draws = self.console.is_terminal and not self.console.is_dumb_terminal
        with self.console.status(Text(f"{text} …")) if draws else nullcontext():
            try:
                yield
            except KeyboardInterrupt:
                self.stopped = True
                raise


OUTCOMES = {1: "win", 0: "draw", -1: "loss"}
CELL = 3  # characters of a cell of a board: a mark between brackets or spaces


def draw(record: Record, *, colours: bool) -> Text:
    """The board, with the cells that the last move changed in brackets; plain lines where it is no grid."""
    grid, *before = (read_grid(record.game.render(state)) for state in record.states[:-3:-1])
    if grid is None:
        return Text(record.game.render(record.state))
    dim, marks = ("dim", MARK_STYLES) if colours else ("", {})
    indent = max(map(len, grid.row_names))
    margin = indent + 1 if indent else 0
    earlier = before[0].cells if before and before[0] else grid.cells
    lines = []
    step = CELL * grid.lean
    for row, (name, cells, were) in enumerate(zip(grid.row_names, grid.cells, earlier, strict=True)):
        line = Text.assemble((" " * int(step * row) + name.rjust(indent).ljust(margin), dim))
        for mark, was in zip(cells, were, strict=True):
            left, right = "  " if mark == was else "[]"
            line.append(left).append(mark, style=marks.get(mark, dim)).append(right)
        lines.append(line)
    below = " " * (int(step * len(lines)) + margin)
    lines.append(Text.assemble((below + "".join(f" {name:<{CELL - 1}}" for name in grid.column_names), dim)))
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)


def times(argument: str) -> int:
    """How often: once if nothing is said. ValueError if it is no number from 1."""
    if argument and not (argument.isdecimal() and 1 <= len(argument) <= 9 and int(argument)):
        raise ValueError(f"{printable(argument)} is no number of times; say a whole number from 1")
    return int(argument or 1)
