"""Searches as CUDA graphs: all operations of a search are recorded once and repeated without Python in between.

On a GPU, a search in Python takes most of its time to start thousands of small operations. A recording of them starts
at once. It reads the positions, the noise and the network's weights where they were when it was made, and writes its
result where the first one was; so before each search those are copied in, and afterwards the result is copied out.
Newer weights therefore cost a copy; another batch, configuration or game, or more simulations, cost a new recording,
a fraction of a second.

What is recorded is the whole of `search.search`, but for the drawing of its noise. A game or an evaluator whose
operations need the CPU in between cannot be recorded: it is searched as on a CPU, and a warning says so.
"""

from __future__ import annotations

import copy
import threading
import warnings
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from weakref import WeakSet

import torch
from torch import Tensor

from alphazero.config import SearchConfig
from alphazero.game import Game, S, batch_size, map_states, num_actions
from alphazero.mcts import gumbel, puct
from alphazero.mcts.evaluator import Evaluator, TimedEvaluator, weights_of

if TYPE_CHECKING:
    from alphazero.mcts.search import Options
    from alphazero.mcts.tree_search import SearchResult, TreeSearch

T = TypeVar("T")

KEPT = 4  # recordings that are kept for the next search; each holds its trees and the network's intermediate results


class SearchTrees(Protocol):
    """`search.search_trees`."""

    def __call__(
        self,
        evaluator: Evaluator[S],
        game: Game[S],
        roots: S,
        config: SearchConfig,
        generator: torch.Generator,
        *,
        gumbel_noise: Tensor | None,
        gammas: Tensor | None,
        compiled: bool | None,
    ) -> TreeSearch[S]: ...


class CannotRecordError(Exception):
    """The operations cannot be recorded; the message says why."""


def recorded_search(
    search_trees: SearchTrees,
    evaluator: Evaluator[S],
    game: Game[S],
    roots: S,
    config: SearchConfig,
    generator: torch.Generator,
    options: Options[S],
) -> SearchResult | None:
    """The result of `search` with these arguments, from a recording; None if there can be none, or it is not wanted."""
    device, wanted, compiled = roots[0].device, options.get("recorded"), options.get("compiled")
    wanted = device.type == "cuda" if wanted is None else wanted
    if not wanted or game in _refused or options.get("schedule") is not None or options.get("begun") is not None:
        return None
    weights = weights_of(evaluator)
    if weights is None or options.get("root_evaluator") not in (None, evaluator):
        _say_once(game, "its evaluator draws random numbers, or does not tell its weights")
        return None
    with torch.inference_mode():
        shape, noise, gammas = (batch_size(roots), num_actions(game)), options.get("gumbel_noise"), None
        if config.algorithm == "puct":
            gammas = options.get("gammas")
            gammas = puct.gammas(shape, config, generator) if gammas is None else gammas
        elif noise is None:
            noise = gumbel.noise(shape, config, generator)
        inputs = Inputs(roots, noise, gammas)
        unused = torch.Generator(device)  # a recorded evaluator that draws from it fails
        key = (id(game), config, compiled, device, type(evaluator), inputs.form(), form(weights))

        def search(own: Evaluator[S], given: Inputs[S]) -> tuple[TreeSearch[S], SearchResult]:
            trees = search_trees(
                own, game, given.roots, config, unused,
                gumbel_noise=given.noise, gammas=given.gammas, compiled=compiled,
            )  # fmt: skip
            return trees, trees.result()

        try:
            with _recording(key, lambda: Recording(search, evaluator, game, inputs)) as recording:
                result = recording.repeat(weights, inputs)
        except CannotRecordError as error:
            _refused.add(game)
            _say_once(game, str(error))
            return None
        if isinstance(evaluator, TimedEvaluator):
            evaluator.evaluations += recording.evaluations
        return result


class Inputs(Generic[S]):
    """What one search has and another has not, besides weights; the fields as in `search.Options`."""

    def __init__(self, roots: S, noise: Tensor | None, gammas: Tensor | None) -> None:
        self.roots, self.noise, self.gammas = roots, noise, gammas

    def tensors(self) -> dict[str, Tensor]:
        found = {"noise": self.noise, "gammas": self.gammas} | dict(enumerate(self.roots))
        return {str(name): tensor for name, tensor in found.items() if tensor is not None}

    def form(self) -> Hashable:
        return form(self.tensors())

    def copied(self) -> Inputs[S]:
        noise, gammas = (None if tensor is None else tensor.clone() for tensor in (self.noise, self.gammas))
        return Inputs(map_states(torch.clone, self.roots), noise, gammas)


def form(tensors: Mapping[str, Tensor]) -> Hashable:
    """Names, shapes and types: tensors of one form can be copied into one another."""
    return tuple((name, tensor.shape, tensor.dtype) for name, tensor in tensors.items())


Search = Callable[[Evaluator[S], Inputs[S]], "tuple[TreeSearch[S], SearchResult]"]


class Recording(Generic[S]):
    """A search that can be repeated with other positions, noise and weights. One thread at a time.

    evaluations: positions that the search asks its evaluator about.
    """

    def __init__(self, search: Search[S], evaluator: Evaluator[S], game: Game[S], inputs: Inputs[S]) -> None:
        """CannotRecordError if the search cannot be recorded. It may keep its game alive, and does."""
        # Evaluator and inputs of its own, whose places stay; the game is shared, as it holds no position.
        own, self.inputs, self.evaluations = copy.deepcopy(evaluator, {id(game): game}), inputs.copied(), 0
        weights = weights_of(own)
        assert weights is not None
        self.weights = list(weights.values())
        self._done: torch.cuda.Event | None = None

        def run() -> SearchResult:
            before = evaluations_of(own)
            # The trees live on with the recording: their places are in it.
            self.trees, result = search(own, self.inputs)
            self.evaluations = evaluations_of(own) - before
            return result

        self._run = record(run, inputs.roots[0].device)

    def repeat(self, weights: Mapping[str, Tensor], inputs: Inputs[S]) -> SearchResult:
        """The result of the search with these weights and inputs, of the recording's form."""
        stream = torch.cuda.current_stream() if self.inputs.roots[0].is_cuda else None
        if stream and self._done:
            stream.wait_event(self._done)  # of the search before, perhaps in another stream
        if self.weights:
            torch._foreach_copy_(self.weights, list(weights.values()))
        given, own = inputs.tensors(), self.inputs.tensors()
        for name, tensor in own.items():
            tensor.copy_(given[name])
        result = self._run()
        copied = result.copied()
        self._done = stream.record_event() if stream else None
        return copied

    def wait(self) -> None:
        """Waits until its last search is over."""
        if self._done:
            self._done.synchronize()


def evaluations_of(evaluator: Evaluator[S]) -> int:
    """How many positions a `TimedEvaluator` has counted; 0 for others."""
    return evaluator.evaluations if isinstance(evaluator, TimedEvaluator) else 0


class Gate:
    """Lets threads use a GPU side by side, but the one that records use it alone: others could spoil the recording.

    CUDA forbids to wait for a device that records, which happens where one does not see it: cuDNN, for instance, frees
    memory after it has tried its algorithms.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._users: Counter[int] = Counter()  # by thread
        self._recorder: int | None = None

    @contextmanager
    def using(self, device: torch.device | str) -> Iterator[None]:
        """A context that waits while another thread records; on other devices than GPUs it does nothing."""
        if torch.device(device).type != "cuda":
            yield
            return
        here = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._recorder in (None, here))
            self._users[here] += 1
        try:
            yield
        finally:
            with self._changed:
                self._users[here] -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A context that begins when nobody else is `using` a GPU; who enters it may be doing so."""
        here = threading.get_ident()
        with self._changed:
            own = self._users.pop(here, 0)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._recorder is None and not self._users.total())
            self._recorder = here
        try:
            yield
        finally:
            with self._changed:
                self._recorder, self._users[here] = None, own
                self._changed.notify_all()


GATE = Gate()


def record(run: Callable[[], T], device: torch.device, *, warm: bool = False) -> Callable[[], T]:
    """Records the operations of `run` on a GPU. The function returned repeats them, and returns the same tensors anew.

    On the CPU it is `run` itself. CannotRecordError if `run` waits for the device, say.

    warm: whether this thread has run it before, unrecorded: this compiles kernels, fills caches of constants and lets
          cuDNN choose its algorithms. If not, it is done here.
    """
    if device.type != "cuda":
        return run
    graph = torch.cuda.CUDAGraph()
    with GATE.alone():
        # Torch has 32 streams and hands them out in turn, also those in use: so each is used again once it is free.
        # No two recordings share one, since cuBLAS has a workspace for each.
        current = torch.cuda.current_stream(device)
        idle = _streams[device, current.priority]
        stream = idle.pop() if idle else torch.cuda.Stream(device, current.priority)
        stream.wait_stream(current)
        found = _recorded(run, graph, stream, warm=warm)
    weakref.finalize(graph, idle.append, stream)

    def repeat() -> T:
        graph.replay()
        return found

    return repeat


def _recorded(run: Callable[[], T], graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream, *, warm: bool) -> T:
    with torch.cuda.stream(stream):
        if not warm:
            run()
        stream.synchronize()
        try:
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                return run()
        except Exception as error:
            raise CannotRecordError(" ".join(str(error).split())[:300]) from error


# Idle ones, by device and priority: what is recorded keeps the priority of its stream.
_streams: defaultdict[tuple[torch.device, int], list[torch.cuda.Stream]] = defaultdict(list)
_lock = threading.Lock()
_kept: list[tuple[Hashable, Recording[Any]]] = []  # those not in use, the last used last
_refused: WeakSet[Game[Any]] = WeakSet()
_said: WeakSet[Game[Any]] = WeakSet()


@contextmanager
def _recording(key: Hashable, make: Callable[[], Recording[S]]) -> Iterator[Recording[S]]:
    """A recording under this key that nobody else uses meanwhile: a kept one, or a new one."""
    with _lock:
        place = next((i for i, (kept, _) in enumerate(_kept) if kept == key), None)
        kept = None if place is None else _kept.pop(place)[1]
    recording = kept or make()
    yield recording
    with _lock:
        _kept.append((key, recording))
        _drop(len(_kept) - KEPT)


def forget() -> None:
    """Frees the recordings that are kept, and their memory."""
    with _lock:
        _drop(len(_kept))


def _drop(count: int) -> None:
    count = max(0, count)
    for _, recording in _kept[:count]:
        recording.wait()
    del _kept[:count]


def _say_once(game: Game[Any], reason: str) -> None:
    """Warns that searches of this game are not recorded."""
    if game not in _said:
        _said.add(game)
        warnings.warn(
            f"{game.name}: the search cannot be recorded as a CUDA graph, and takes longer without ({reason})",
            RuntimeWarning,
            stacklevel=4,
        )
