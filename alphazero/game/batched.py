"""Games in plain Python for the engine: rules for one position at a time, over batches of states.

A state is the moves that led to it, so it can be saved, sent and learned from like any other, and nothing is pickled.
The Python objects are kept beside it, as many as a limit allows: whoever asks about a state whose position is no longer
there, as the learner does of old samples, has it played again. Each position is asked for its moves, its observation
and its end once, and each move is made once, however many paths of search and games come by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from math import prod
from threading import RLock
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alphazero.game.attributes import check_attributes
from alphazero.game.drawing import draw
from alphazero.game.interface import Discrete, Game, Symmetry, Transition
from alphazero.game.messages import shortened
from alphazero.game.python_game import PythonGame, encoded

MEMORY = 1 << 29  # bytes that kept positions may take, about
OBJECT = 4_000  # bytes of a position and its successors, besides its legal actions and its observation; measured
ODD = -7046029254386353131  # 2^64 over the golden ratio, as a signed number; it scatters lengths over keys


class History(NamedTuple):
    """B positions, as the moves that led to them.

    start:    [B] int64, the seed of the start; 0 where all games start alike.
    moves:    [B, max_moves] the actions, and zeros; in a Box game [B, max_moves, D] float32.
    length:   [B] int32, how many there are.
    position: [B] int64, tells positions apart.
    turn:     [B] int8, who moves, 0 or 1.
    done:     [B] bool.
    """

    start: Tensor
    moves: Tensor
    length: Tensor
    position: Tensor
    turn: Tensor
    done: Tensor


class _Edge(NamedTuple):
    """What a move leads to: the successor's number, turn and end, and the reward."""

    number: int
    turn: int
    done: bool
    reward: float


@dataclass(slots=True)
class _Node:
    """A position, and what the rules have said of it so far."""

    position: Any
    number: int
    turn: int
    winner: int | None
    done: bool
    legal: NDArray[np.bool_]
    observation: NDArray[np.float32] | None = None
    edges: dict[Any, _Edge] = field(default_factory=dict)


class BatchedGame(Game[History]):
    """The batched game of rules in plain Python. Several threads may ask it; one at a time is answered."""

    def __init__(self, rules: PythonGame) -> None:
        check_attributes(rules)
        self.rules = rules
        self.name = rules.name  # type: ignore[misc]
        self.num_players = rules.num_players  # type: ignore[misc]
        self.actions, self.observation_shape = rules.actions, rules.observation_shape
        self.discount, self.metric_units = rules.discount, rules.metric_units
        self._lock = RLock()
        # Half of the positions are young. What is asked of an old one makes it young, and the others are dropped once
        # there are as many young ones again.
        self._actions = self.actions.n if isinstance(self.actions, Discrete) else 0
        self._most = MEMORY // (4 * prod(self.observation_shape) + self._actions + OBJECT) // 2
        self._young: dict[int, _Node] = {}
        self._old: dict[int, _Node] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process makes positions of its own."""
        return BatchedGame, (self.rules,)

    @property
    def defined_by(self) -> type:
        return type(self.rules)

    # The game

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> History:
        device = torch.device("cpu") if generator is None else generator.device
        start = torch.zeros(batch, dtype=torch.int64, device=device)
        if generator is not None and self.rules.overrides("random_initial"):
            start.random_(1 << 62, generator=generator)
        with self._lock:
            nodes = [self._start(seed) for seed in start.tolist()]
        inner, dtype = self.actions.form()
        if isinstance(self.actions, Discrete):  # in as few bytes as there can be
            narrow = (torch.int8, torch.int16, torch.int32)
            dtype = next(kind for kind in narrow if self.actions.n <= torch.iinfo(kind).max)
        return History(
            start=start,
            moves=torch.zeros(batch, self.rules.max_moves, *inner, dtype=dtype, device=device),
            length=torch.zeros_like(start, dtype=torch.int32),
            position=torch.tensor([node.number for node in nodes], dtype=torch.int64, device=device),
            turn=torch.tensor([node.turn for node in nodes], dtype=torch.int8, device=device),
            done=torch.tensor([node.done for node in nodes], dtype=torch.bool, device=device),
        )

    def to_play(self, state: History) -> Tensor:
        return state.turn

    def legal(self, state: History) -> Tensor:
        return self._gathered(state, lambda node: node.legal, (self._actions,), torch.bool)

    def step(self, state: History, action: Tensor) -> Transition[History]:
        numbers, turns, dones, rewards = [], [], [], []
        done_before = state.done.tolist()
        with self._lock:
            for node, played, over in zip(self._nodes(state), action.tolist(), done_before, strict=True):
                edge = _Edge(node.number, node.turn, True, 0.0) if over else self._edge(node, played)
                numbers.append(edge.number)
                turns.append(edge.turn)
                dones.append(edge.done)
                rewards.append(edge.reward)
        device = action.device
        running = (~state.done).nonzero()[:, 0]
        length, moves = state.length + ~state.done, state.moves.clone()
        moves[running, state.length[running].long()] = action[running].to(moves.dtype)
        done = torch.tensor(dones, dtype=torch.bool, device=device) | (length >= self.rules.max_moves)
        successor = History(
            start=state.start,
            moves=moves,
            length=length,
            position=torch.tensor(numbers, dtype=torch.int64, device=device),
            turn=torch.tensor(turns, dtype=torch.int8, device=device),
            done=done,
        )
        return Transition(successor, torch.tensor(rewards, dtype=torch.float32, device=device), done)

    def observe(self, state: History) -> Tensor:
        return self._gathered(state, self._observation, self.observation_shape, torch.float32)

    @property
    def has_key(self) -> bool:
        return True

    def key(self, state: History) -> Tensor:
        """Tells lengths apart too, for the longest game ends whatever its position is."""
        return state.position + state.length * ODD

    @property
    def has_solver(self) -> bool:
        return self.rules.overrides("solve")

    def solve(self, state: History) -> Tensor:
        return self._asked(state, "solve")

    @property
    def has_heuristic(self) -> bool:
        return self.rules.overrides("heuristic")

    def heuristic(self, state: History) -> Tensor:
        return self._asked(state, "heuristic") if self.has_heuristic else super().heuristic(state)

    def metrics(self, state: History) -> dict[str, Tensor]:
        with self._lock:
            found = [self._call("metrics", node.position) for node in self._nodes(state)]
        return {name: torch.tensor([float(row[name]) for row in found]) for name in (found[0] if found else ())}

    def symmetries(self) -> Sequence[Symmetry]:
        return self.rules.symmetries()

    def render(self, state: History) -> str:
        if not self.rules.overrides("render"):
            return draw(self, state)
        with self._lock:
            return self.rules.render(self._nodes(state)[0].position)

    def action_name(self, action: int) -> str:
        return self.rules.action_name(action)

    # Positions

    def cut_off(self, state: History) -> Tensor:
        """[B] bool, whether `max_moves` has ended the game, and not its rules."""
        with self._lock:
            over = torch.tensor([node.done for node in self._nodes(state)], device=state.done.device)
        return state.done & ~over

    def forget(self, state: History) -> None:
        with self._lock:
            nodes = self._nodes(state)
            self._young, self._old = {node.number: node for node in nodes}, {}
            for node in nodes:
                node.edges, node.observation = {}, None

    def _nodes(self, state: History) -> list[_Node]:
        """The nodes of the states; those that are gone are played again."""
        numbers = state.position.tolist()
        nodes: list[Any] = list(map(self._young.get, numbers))
        for row, node in enumerate(nodes):
            if node is None:
                nodes[row] = self._kept(numbers[row]) or self._played(state, row)
        return nodes

    def _played(self, state: History, row: int) -> _Node:
        node = self._start(int(state.start[row]))
        for action in state.moves[row, : int(state.length[row])].tolist():
            # Of a file, perhaps: what is not legal may be more than the rules can bear.
            if node.done or (self.discrete and not (0 <= action < len(node.legal) and node.legal[action])):
                raise ValueError(f"{self.name} has no such game: {action} cannot be played after those before it")
            node = self._kept(self._edge(node, action).number) or self._made(node, action)
        return node

    @cached_property
    def _keyed(self) -> bool:
        """Whether keys tell positions apart, or the moves that led to them do."""
        return self.rules.overrides("key") or _is_plain(self._call("initial"))

    @cached_property
    def _first(self) -> _Node:
        position = self._call("initial")
        return self._node(position, self._number(position, "start"))

    def _start(self, seed: int) -> _Node:
        if not self.rules.overrides("random_initial"):
            return self._first
        position = self._call("random_initial", np.random.default_rng(seed))
        number = self._number(position, "start", seed)
        return self._kept(number) or self._node(position, number)

    def _edge(self, node: _Node, action: Any) -> _Edge:
        """What the action leads to. Makes the move if nobody has done so since the node is there."""
        played = action if self.discrete else tuple(action)
        edge = node.edges.get(played)
        if edge is None:
            successor = self._made(node, action)
            reward = self._reward(node, action, successor)
            edge = node.edges[played] = _Edge(successor.number, successor.turn, successor.done, reward)
        return edge

    def _made(self, node: _Node, action: Any) -> _Node:
        """The node that the action leads to, whether or not it is there."""
        position = self._call("play", node.position, action if self.discrete else np.array(action, np.float32))
        number = self._number(position, node.number, action)
        return self._kept(number) or self._node(position, number)

    def _reward(self, node: _Node, action: Any, successor: _Node) -> float:
        if self.rules.overrides("reward"):
            return float(self._call("reward", node.position, action, successor.position))
        return 0.0 if successor.winner is None else 1.0 if successor.winner == node.turn else -1.0

    def _number(self, position: Any, *path: object) -> int:
        """64 bits that tell the position apart: by its key, or by the path that led there."""
        content = encoded(self._call("key", position)) if self._keyed else repr(path).encode()
        return int.from_bytes(blake2b(content, digest_size=8).digest(), "little", signed=True)

    def _node(self, position: Any, number: int) -> _Node:
        winner = self._call("winner", position)
        over = self._call("finished", position) if self.rules.overrides("finished") else winner is not None
        legal = np.zeros(self._actions, np.bool_)
        if self.discrete and not over:
            legal[list(self._call("legal_actions", position))] = True
            over = not legal.any()
        return self._keep(_Node(position, number, int(self._call("to_play", position)), winner, bool(over), legal))

    def _kept(self, number: int) -> _Node | None:
        node = self._young.get(number)
        if node is None and (node := self._old.pop(number, None)) is not None:
            self._keep(node)
        return node

    def _keep(self, node: _Node) -> _Node:
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}
        self._young[node.number] = node
        return node

    def _observation(self, node: _Node) -> NDArray[np.float32]:
        if node.observation is None:
            seen = np.asarray(self._call("observe", node.position), np.float32)
            if seen.shape != self.observation_shape:
                raise ValueError(f"observe: must have shape {self.observation_shape}, has {seen.shape}")
            node.observation = seen
        return node.observation

    def _gathered(
        self, state: History, answer: Callable[[_Node], NDArray[Any]], shape: tuple[int, ...], dtype: torch.dtype
    ) -> Tensor:
        """The answers about the states, each of this shape, in one tensor."""
        with self._lock:
            rows = [answer(node) for node in self._nodes(state)]
        if not rows:
            return torch.zeros(0, *shape, dtype=dtype, device=state.turn.device)
        return torch.from_numpy(np.stack(rows)).to(state.turn.device)

    def _asked(self, state: History, method: str) -> Tensor:
        with self._lock:
            answers = [self._call(method, node.position) for node in self._nodes(state)]
        return torch.tensor(answers, dtype=torch.float32, device=state.turn.device)

    def _call(self, method: str, *arguments: Any) -> Any:
        """The answer of the rules; an error of theirs says which position they were asked about."""
        try:
            return getattr(self.rules, method)(*arguments)
        except Exception as error:
            given = ", ".join(shortened(repr(argument), 200) for argument in arguments)
            error.add_note(f"in {type(self.rules).__name__}.{method}({given})")
            raise


def as_game(game: Game[Any] | PythonGame) -> Game[Any]:
    """The game itself, or that of rules in plain Python."""
    return BatchedGame(game) if isinstance(game, PythonGame) else game


def _is_plain(position: object) -> bool:
    """Whether the position itself can tell positions apart."""
    try:
        encoded(position)
    except TypeError:
        return False
    return True
