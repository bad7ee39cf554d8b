"""A shell to play in: each seat of the game is a person's or a player's."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console

from alphazero.arena.players import AgentPlayer, Player, SearchBudget, parse_budget
from alphazero.arena.registry import agent_spec, find_player
from alphazero.game.messages import printable
from alphazero.game.record import Record
from alphazero.mcts.tree_search import TreeSearch
from alphazero.shell.base import Shell, times
from alphazero.shell.explore import ExploreShell
from alphazero.shell.explorer import Explorer

HUMAN = "human"
KEPT = 1 << 17  # nodes of a tree that is kept from one move to the next, at the most: 26 MB in connect-four
EXPLORED = SearchBudget(600)  # of the explorer, which needs simulations, where the agent has seconds a move


class PlayShell(Shell):
    """A game in which each seat is a person's or a player's."""

    prompt = "your move: "

    def __init__(
        self,
        explorer: Explorer,
        record: Record,
        console: Console,
        *,
        seats: list[str],
        budget: SearchBudget,
        seed: int,
        code: Mapping[str, str | None] | None = None,
    ) -> None:
        """`seats`: the name of each seat's player, "human" or as in `find_player`; `code`: its `game` and `network`."""
        super().__init__(explorer, record, console, budget=budget)
        self.seed, self.code = seed, code or {}
        self.seats, self.rivals = list(seats), list(seats)  # rivals: the last player of each seat that was no person
        self.players: list[Player | None] = [None] * len(seats)
        self.thoughts: dict[int, TreeSearch] = {}  # each seat's last search
        self.resigned: int | None = None
        self.paused = False
        for seat, name in enumerate(seats):
            self.sit(seat, name)

    def sit(self, seat: int, name: str) -> None:
        """Gives a seat to the player of this name. ValueError or RunError if there is none."""
        player = None
        if name != HUMAN:
            player = find_player(name, self.agent, self.budget, **self.code).build(self.seed + seat)
        self.players[seat], self.seats[seat] = player, name
        self.thoughts.pop(seat, None)
        if player:
            self.rivals[seat] = name

    # -------------------------------------------------------------------------------- turns

    def begin(self) -> None:
        self.show()
        self.advance()

    def interrupted(self) -> None:
        if self.to_move:
            self.paused = True
            self.say("stopped; `continue` goes on")
        self.advance()

    def postcmd(self, stop: bool, line: str) -> bool:
        if not stop:
            self.advance()
        return stop

    @property
    def to_move(self) -> Player | None:
        """The player whose turn it is; None where it is a person's, and once the game is over."""
        return None if self.over() else self.players[self.record.seat]

    def advance(self) -> None:
        """Lets players move until it is a person's turn or the game is over; a player that fails stops the game.

        The prompt then says whether it is a person's turn.
        """
        while not self.paused and (player := self.to_move):
            seat, self.paused = self.record.seat, True
            with self.complaining():
                with self.thinking(f"{player.name} thinks"):
                    action, thoughts = self.think(player, "expects", seat=seat)
                self.record.play(action)
                self.say()
                self.say(f"{self.seat_name(seat)} ({player.name}) plays {self.game.action_name(action)}{thoughts}")
                self.paused = False
                self.show()
        if self.typed:
            self.prompt = "> " if self.over() or self.to_move else "your move: "

    def think(self, player: Player, expects: str, *, seat: int | None = None) -> tuple[int, str]:
        """The player's action, and a text about what it expects. seat: it goes on with this seat's thoughts."""
        if not isinstance(player, AgentPlayer):
            return int(player.actions(self.record.state)[0]), ""
        started = time.monotonic()
        trees = player.think(self.record.state, since=None if seat is None else self.thoughts.get(seat))
        if seat is not None and trees.tree.children.shape[1] <= KEPT:
            self.thoughts[seat] = trees
        found, line = trees.result(), trees.main_line(0)
        used = ""
        if player.budget.seconds is not None:
            used = f" · {int(found.visits.sum()) - trees.before:,} simulations in {time.monotonic() - started:.2f} s"
        value = self.proof(found) or self.expectation(float(found.value[0]))
        return int(found.action[0]), f"{used} · {expects} {value} · line {self.line(line)}"

    def over(self) -> bool:
        return self.record.finished or self.resigned is not None or self.cut_off()

    def cut_off(self) -> bool:
        """Whether the game has as many moves as it may."""
        return not self.record.finished and len(self.record.actions) >= self.agent.max_moves

    def play(self, action: int) -> None:
        if self.over():
            raise ValueError("the game is over; `restart` starts another, `undo` takes back")
        if self.to_move:
            raise ValueError(f"it is {self.seats[self.record.seat]}'s turn; `continue` lets it move")
        self.record.play(action)
        self.show()

    def status(self) -> str:
        if self.over():
            review = "`review`, " * self.game.has_solver
            return f"{self.result()} · `restart`, `undo`, {review}`explore` or `quit`"
        held = " · `continue` lets it move" if self.paused and self.to_move else ""
        return f"{super().status()} ({self.seats[self.record.seat]}){held}"

    def result(self) -> str:
        if self.resigned is None:
            return super().result() + ", the most that it may have" * self.cut_off()
        gives_up = f"{self.seat_name(self.resigned)} resigns"
        return f"{gives_up}: {self.seat_name(1 - self.resigned)} wins" if len(self.seats) == 2 else gives_up

    def move_to(self, record: Record) -> None:
        self.resigned = None
        self.paused = HUMAN not in self.seats and record.actions != []
        super().move_to(record)

    # ------------------------------------------------------------------------------ commands

    def do_undo(self, argument: str) -> None:
        """undo [N]: takes back to your last turn, or to the N-th before"""
        moves = self.moves_of(times(argument) - (self.resigned is not None))
        if moves:
            self.record.undo(moves)
        self.resigned = None
        self.paused = self.seats[self.record.seat] != HUMAN
        self.show()

    def moves_of(self, turns: int) -> int:
        """The number of moves since your turn so many turns ago, or since the start. ValueError if there are fewer."""
        seats = [self.seats[int(self.game.to_play(state)[0])] for state in self.record.states]
        left = played = len(self.record.actions)
        for turn in range(turns):
            if not left:
                many = f"only {turn} can be taken back, not {turns}"
                raise ValueError(many if turn else "there is no move to take back")
            left -= 1
            while HUMAN in self.seats and seats[left] != HUMAN and left:
                left -= 1
        return played - left

    def do_hint(self, argument: str) -> None:
        """hint: the agent's move here, and what it expects then"""
        if self.over():
            raise ValueError("the game is over")
        with self.thinking("the agent thinks"):
            player = agent_spec(None, self.agent, self.budget).build(self.seed)
            action, thoughts = self.think(player, "you can expect")
        self.say(f"{self.game.action_name(action)}{thoughts}")

    def do_continue(self, argument: str) -> None:
        """continue: lets the players go on, after you stopped them or took back"""
        self.paused = False
        if self.over():
            raise ValueError("the game is over; `restart` starts another")
        if self.to_move is None:
            raise ValueError(f"it is your turn; {self.legal()}")

    def do_side(self, argument: str) -> None:
        """side first, second, both or none: which seats are yours; the others are your opponent's"""
        if len(self.seats) == 1:
            raise ValueError(f"{self.game.name} is a game for one; `opponent human` or `opponent agent`")
        mine = {"first": (0,), "second": (1,), "both": (0, 1), "none": ()}.get(argument)
        if mine is None:
            raise ValueError(f"{printable(argument) or 'side'}: say first, second, both or none")
        for seat in range(2):
            rivals = [name for name in (self.rivals[seat], self.rivals[1 - seat]) if name != HUMAN]
            self.sit(seat, HUMAN if seat in mine else (rivals or ["agent"])[0])
        self.paused = False
        self.show()

    def do_swap(self, argument: str) -> None:
        """swap: the two seats change sides"""
        if len(self.seats) == 1:
            raise ValueError(f"{self.game.name} is a game for one")
        for each in (self.seats, self.players, self.rivals):
            each.reverse()
        self.thoughts.clear()
        self.paused = False
        self.show()

    def do_opponent(self, argument: str) -> None:
        """opponent NAME: who plays the other side: agent, agent:2s, network, minimax:5, mcts:1000, random, perfect,
        a run's folder, human"""
        if not argument:
            raise ValueError(f"now {self.seating()}; say who, as `opponent minimax:5`")
        theirs = [seat for seat, name in enumerate(self.seats) if name != HUMAN] or [1 - self.record.seat]
        for seat in theirs if len(self.seats) == 2 else [0]:
            self.sit(seat, argument)
        self.say(self.seating())

    def do_budget(self, argument: str) -> None:
        """budget N or Ss: how long the agent thinks about a move: 600 simulations, or 2s"""
        if not argument:
            raise ValueError(f"now {self.budget}; say simulations as 600, or seconds as 2s")
        self.budget = parse_budget(argument)
        for seat, name in enumerate(self.seats):
            self.sit(seat, name)
        self.say(f"the agent thinks {self.budget} a move")

    def do_resign(self, argument: str) -> None:
        """resign: gives the game up, for you or where two persons play for the side to move"""
        if self.over():
            raise ValueError("the game is over already")
        mine = [seat for seat, name in enumerate(self.seats) if name == HUMAN]
        self.resigned = mine[0] if len(mine) == 1 else self.record.seat
        self.say(self.status())

    def do_explore(self, argument: str) -> None:
        """explore: opens the explorer at this position; `quit` there comes back"""
        explored = Record(self.game, self.record.moves)
        budget = self.budget if self.budget.seconds is None else EXPLORED
        ExploreShell(self.explorer, explored, self.console, budget=budget).run()
        self.show()

    def seating(self) -> str:
        return " · ".join(f"{self.seat_name(seat)}: {name}" for seat, name in enumerate(self.seats))
