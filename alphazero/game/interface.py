"""The game interface: pure rules over a batch of states.

A game holds no position. Positions are `State`s: NamedTuples of tensors that all have the
batch as their leading dimension, live on one device and are never changed in place. Everything
else in the engine, from search to the terminal's board, is written against the class `Game`.

`alphazero.game.conformance.check_game` plays random games and checks every promise made here.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, cast, get_args, get_origin

import torch
from torch import Tensor

from alphazero.game.drawing import draw
from alphazero.game.messages import printable
from alphazero.game.states import S

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Discrete(NamedTuple):
    """Actions 0 .. n - 1. A batch of them is [B] int64."""

    n: int

    def form(self) -> tuple[tuple[int, ...], torch.dtype]:
        """The shape and type of one action."""
        return (), torch.int64

    def playable(self, actions: Tensor, legal: Tensor) -> Tensor:
        """[B] bool, whether actions of this form are in range and legal; `legal` as the game says, [B, A]."""
        in_range = (actions >= 0) & (actions < self.n)
        return in_range & legal.gather(1, actions.where(in_range, 0)[:, None])[:, 0]

    def random(self, legal: Tensor, generator: torch.Generator) -> Tensor:
        """A legal action for each row, uniformly."""
        ticket = torch.rand(legal.shape, generator=generator, device=generator.device).to(legal.device)
        return torch.where(legal, ticket, -1.0).argmax(1)


class Box(NamedTuple):
    """Continuous actions between `low` and `high`, a number each dimension.

    A batch of them is [B, D] float32. Search samples K of them at every node.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def bounds(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """low and high, [D] float32."""
        low, high = (torch.tensor(bound, dtype=torch.float32, device=device) for bound in self)
        return low, high

    def form(self) -> tuple[tuple[int, ...], torch.dtype]:
        """The shape and type of one action."""
        return (len(self.low),), torch.float32

    def playable(self, actions: Tensor, legal: Tensor) -> Tensor:
        """[B] bool, whether actions of this form lie within; `legal` as the game says, [B, 0]."""
        low, high = self.bounds(actions.device)
        return ((actions >= low) & (actions <= high)).all(1)

    def random(self, legal: Tensor, generator: torch.Generator) -> Tensor:
        """An action for each row, uniformly."""
        low, high = self.bounds(legal.device)
        share = torch.rand(len(legal), len(low), generator=generator, device=generator.device).to(legal.device)
        # Rounding can carry low + share * (high - low) a last bit out of the box.
        return torch.lerp(low, high, share).clamp(low, high)


class Transition(NamedTuple, Generic[S]):
    """The outcome of a step.

    state:  the successors.
    reward: [B] float32, to the player who moved.
    done:   [B] bool, whether the successor is finished.
    """

    state: S
    reward: Tensor
    done: Tensor


class Symmetry(NamedTuple):
    """A map under which the rules do not change, such as a mirror.

    observation: maps [B, *observation_shape] to the same shape.
    actions: as long as the game has actions; the action `a` of the mapped position is the action
        `actions[a]` of the original, so that a policy maps as `policy[:, actions]`.
    """

    observation: Callable[[Tensor], Tensor]
    actions: tuple[int, ...]


class CompiledRules(Protocol):
    """`step`, `legal` and `to_play` of many positions in one compiled call; see `Game.compiled_rules`."""

    def __call__(self, *arrays: Any) -> None:
        """Takes, one after the other:

        fields: the fields of the states of M positions, an array each, in the order of the game's state.
        place:  [B] int64, rows of these, where positions to play on are.
        action: [B] int64.
        first:  the row of `fields` that takes the first of the B successors; the others follow it.
        reward, done, turned, legal: to be written. [B] float32, [B] bool, [B] bool: whether the successor is another
            player's turn, [B, A] bool: the successor's legal actions.
        """


SHOWN_NAMES = 100  # of actions, at the most, in a message
OLD_METHODS = {"measures": "metrics", "picture": "figure"}  # names of the version before, and of now


class Game(ABC, Generic[S]):
    """The rules of a game for one or two players, over batches of states.

    Subclasses set the class variables and write the abstract methods; the others have defaults
    that keep the engine working, and each says what the engine loses by its default.
    """

    name: ClassVar[str]
    num_players: ClassVar[int]
    actions: Discrete | Box
    observation_shape: tuple[int, ...]
    discount: float = 1.0  # a reward one move later is worth this much now
    metric_units: Mapping[str, str] = MappingProxyType({})  # of `metrics`, by name: {"miss": "m"}, say

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for old, new in OLD_METHODS.items():
            if old in vars(cls) and new not in vars(cls):
                warnings.warn(
                    f"{cls.__name__}.{old} is called `{new}` now; the old name is read for one more version",
                    FutureWarning,
                    stacklevel=2,
                )
                setattr(cls, new, vars(cls)[old])

    @property
    def state_type(self) -> type[S]:
        """The type of the states. Default: the one that the class names, as in `Game[MyState]`, or that of a start."""
        for kind in type(self).__mro__:
            for base in vars(kind).get("__orig_bases__", ()):
                named = get_args(base)[0] if get_origin(base) is Game else None
                if isinstance(named, type):
                    return cast(type[S], named)
        return type(self.initial(1))

    @property
    def discrete(self) -> bool:
        """Whether the actions are discrete ones."""
        return isinstance(self.actions, Discrete)

    @property
    def has_key(self) -> bool:
        """Whether the game has a `key`. Default: whether its class defines one."""
        return type(self).key is not Game.key

    @property
    def has_solver(self) -> bool:
        """Whether the game has a solver (see `solve`). Default: whether its class defines one."""
        return type(self).solve is not Game.solve

    @property
    def has_heuristic(self) -> bool:
        """Whether the game has a heuristic. Default: whether its class defines one."""
        return type(self).heuristic is not Game.heuristic

    @property
    def has_boards(self) -> bool:
        """Whether positions can be made from boards (see `from_board`). Default: whether its class says how.

        A class that changes the rules, the states or the drawing of another has to say it anew.
        """
        definers = {
            name: next(kind for kind in type(self).__mro__ if name in vars(kind))
            for name in ("from_board", "initial", "to_play", "legal", "step", "observe", "render")
        }
        teller = definers["from_board"]
        return teller is not Game and all(issubclass(teller, definer) for definer in definers.values())

    @property
    def defined_by(self) -> type:
        """The class that its author has written. Default: its own."""
        return type(self)

    @property
    def solver_help(self) -> str:
        """The answer to a user who asks for the solver where there is none: how to get it, say."""
        return f"{self.name} has no perfect player"

    @abstractmethod
    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> S:
        """The start of `batch` games, on the generator's device (CPU without one).

        `generator` draws whatever is random about a start.
        """

    @abstractmethod
    def to_play(self, state: S) -> Tensor:
        """[B] int8, who moves: 0 or 1, always 0 in a game for one. At a finished state: any."""

    @abstractmethod
    def legal(self, state: S) -> Tensor:
        """[B, A] bool, at least one in an unfinished state. In a Box game every action is legal: [B, 0]."""

    @abstractmethod
    def step(self, state: S, action: Tensor) -> Transition[S]:
        """Plays `action` everywhere. On a finished state: the same state, reward 0, done.

        An illegal action leaves the state it returns undefined; callers mask with `legal`.
        """

    @abstractmethod
    def observe(self, state: S) -> Tensor:
        """[B, *observation_shape] float32, what the network sees, as the player to move sees it."""

    @property
    def compiled_rules(self) -> CompiledRules | None:
        """The rules as one compiled function for the CPU. Default: None, so search calls the functions above in turn.

        A small batch gains most: one call takes less time than the overhead of a dozen tensor operations.
        """
        return None

    def symmetries(self) -> Sequence[Symmetry]:
        """The symmetries besides the identity. Default: none, so samples are not augmented."""
        return ()

    def key(self, state: S) -> Tensor:
        """[B] int64, distinct for distinct positions. Default: there is none, so nothing is cached or merged.

        Two states with one key must agree in `to_play`, `legal`, `observe` and all that follows.
        """
        raise ValueError(f"{self.name} has no `key`")

    def heuristic(self, state: S) -> Tensor:
        """[B] float32 in (-1, 1), a guess at the value for the player to move, for minimax.

        Default: 0, so that minimax sees nothing but finished games within its depth.
        """
        return torch.zeros(self.to_play(state).shape, device=self.to_play(state).device)

    def metrics(self, state: S) -> dict[str, Tensor]:
        """Further metrics of finished games by name, [B] each; their units are in `metric_units`. Default: none.

        A training run reports their median and 95th percentile when it measures an agent in a game for one.
        """
        return {}

    def figure(self, state: S, action: Tensor) -> Figure | None:
        """A figure of what `action` [1, D] does in a batch of one position, for TensorBoard. Default: None.

        Discrete games need none: their boards are drawn from `render`.
        """
        return None

    def solve(self, state: S) -> Tensor:
        """The exact score of every action, [B, A] float32: 0 a draw, above a win, below a loss, -inf illegal.

        For the player to move; the sooner the end, the further from 0. Default: there is no solver.
        """
        raise ValueError(self.solver_help)

    def forget(self, state: S) -> None:
        """Forgets what it was asked before, except where the positions of `state` come from.

        So its speed can be measured. Default: it remembers nothing.
        """

    def render(self, state: S) -> str:
        """The position of a batch of one, as lines of plain text. Default: the observation as a board, if it is one.

        See `alphazero.game.drawing`; else the state's fields.
        """
        return draw(self, state)

    def from_board(self, board: Tensor, to_play: int | None = None) -> S:
        """The position that `render` shows as this board, a batch of one.

        board:   int8, of the observation's last two dimensions, the way up that `render` shows it: 1 a mark of the
                 first player (x), 2 of the second (o), 0 none.
        to_play: who moves, 0 or 1; None where the board tells.
        ValueError says why there is no such position, or asks who moves. Default: positions are known by moves alone.
        """
        raise ValueError(f"{self.name} takes no boards")

    def action_name(self, action: int) -> str:
        """How people write a discrete action. Default: its number."""
        return str(action)

    def parse_action(self, text: str) -> int:
        """The discrete action that `text` names. ValueError with what is expected otherwise."""
        if (action := self._numbers.get(text.strip())) is not None:
            return action
        expected = ", ".join([*self._numbers][:SHOWN_NAMES]) + ", …" * (len(self._numbers) > SHOWN_NAMES)
        raise ValueError(f"no action is called {printable(text.strip())}; expected one of {expected}")

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """The first action of each name."""
        numbers: dict[str, int] = {}
        for action in range(num_actions(self)):
            numbers.setdefault(self.action_name(action), action)
        return numbers


def num_actions(game: Game[S]) -> int:
    """How many actions a discrete game has. TypeError for a continuous one."""
    if isinstance(game.actions, Discrete):
        return game.actions.n
    raise TypeError(f"{game.name} has continuous actions; this needs a game with discrete ones")


def box_of(game: Game[S]) -> Box:
    """The Box of a game's actions. TypeError for a discrete one."""
    if isinstance(game.actions, Box):
        return game.actions
    raise TypeError(f"{game.name} has discrete actions; this needs a game with continuous ones")


def random_actions(game: Game[S], state: S, generator: torch.Generator) -> Tensor:
    """Legal actions, uniformly: [B] int64, or in a Box game [B, D] float32; of finished states any."""
    return game.actions.random(game.legal(state), generator)


ILLEGAL = torch.finfo(torch.float32).min  # the logit of an illegal action: its prior is exactly 0


def masked(logits: Tensor, legal: Tensor) -> Tensor:
    """Logits with ILLEGAL where `legal` is False; unchanged for a Box game, whose mask is empty."""
    return torch.where(legal, logits, ILLEGAL) if legal.shape[1] else logits
