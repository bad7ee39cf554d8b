"""Evaluators: what states are worth, and which actions look good in them.

Each is a callable `evaluator(states, generator) -> Evaluation` (see `alphazero.mcts.search`):
a network in torch or in ONNX Runtime, uniform priors, random rollouts, and a cache around any.
"""

from __future__ import annotations

import copy
import time

import numpy as np
import onnx
import onnxruntime
import torch
from numba import njit
from torch import Tensor

from alphazero.game import Box, Discrete, Game, State, batch_size, num_actions, take
from alphazero.mcts.search import Evaluator
from alphazero.mcts.tree import Evaluation
from alphazero.network import InferenceModule, to_onnx, with_weights


class UniformEvaluator:
    """Every action alike and every value 0. Of a Box, `samples` actions are drawn uniformly."""

    def __init__(self, game: Game, *, samples: int = 16) -> None:
        self.game, self.samples = game, samples

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
        batch, device = batch_size(states), states[0].device
        actions, width = None, self.samples
        if isinstance(self.game.actions, Box):
            low, high = (torch.tensor(bound, device=device) for bound in self.game.actions)
            uniform = torch.rand(batch, width, len(low), generator=generator, device=device)
            actions = low + (high - low) * uniform
        else:
            width = self.game.actions.n
        return Evaluation(torch.zeros(batch, width, device=device), torch.zeros(batch, device=device), actions)


class RolloutEvaluator:
    """Uniform priors, and as value the mean return of games played on at random (as in plain MCTS).

    Games longer than `max_moves` count for what they earned till then.
    """

    def __init__(self, game: Game, *, rollouts: int = 1, max_moves: int = 1_000, samples: int = 16) -> None:
        self.game, self.rollouts, self.max_moves = game, rollouts, max_moves
        self.uniform = UniformEvaluator(game, samples=samples)

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
        evaluation = self.uniform(states, generator)
        batch, device = batch_size(states), states[0].device
        state = take(states, torch.arange(batch, device=device).repeat(self.rollouts))
        viewer = self.game.to_play(state)
        gain = torch.zeros(len(viewer), device=device)
        worth = torch.ones_like(gain)  # the discount so far
        done = torch.zeros(len(viewer), dtype=torch.bool, device=device)
        for _ in range(self.max_moves):
            mover = self.game.to_play(state)
            state, reward, done = self.game.step(state, self.random_actions(state, generator))
            gain = gain + worth * torch.where(mover == viewer, reward, -reward)
            worth = worth * self.game.discount
            if done.all():
                break
        return evaluation._replace(value=gain.view(self.rollouts, batch).mean(0))

    def random_actions(self, state: State, generator: torch.Generator) -> Tensor:
        """Uniform over the legal actions; of a finished state any."""
        if isinstance(self.game.actions, Discrete):
            legal = self.game.legal(state)
            noise = torch.rand(legal.shape, generator=generator, device=legal.device)
            return torch.where(legal, noise, -1.0).argmax(-1)
        actions = self.uniform(state, generator).actions
        assert actions is not None
        return actions[:, 0]


class TorchEvaluator:
    """The network in torch, on any device; `dtype` bfloat16 or float32."""

    def __init__(self, game: Game, module: InferenceModule, *, device: str = "cpu", dtype: torch.dtype) -> None:
        self.game, self.dtype = game, dtype
        # Channels last is the layout that convolutions are fast in, on CPUs and GPUs alike.
        self.layout = torch.channels_last if len(game.observation_shape) == 3 else torch.contiguous_format
        self.module = module.to(device=device, dtype=dtype, memory_format=self.layout)

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
        observation = self.game.observe(states).to(self.dtype, memory_format=self.layout)
        with torch.inference_mode():
            logits, value = self.module(observation)
        return Evaluation(logits.float(), value.float())


class OnnxEvaluator:
    """The network in ONNX Runtime on the CPU, on one thread: streams run side by side instead."""

    def __init__(self, game: Game, model: onnx.ModelProto | bytes) -> None:
        self.game = game
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        serialized = model if isinstance(model, bytes) else model.SerializeToString()
        self.session = onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
        observation = self.game.observe(states).numpy()
        logits, value = self.session.run(["logits", "value"], {"observation": observation})
        return Evaluation(torch.from_numpy(logits), torch.from_numpy(value))


def multiplies_bfloat16(device: str) -> bool:
    """Whether the device has matrix units for bfloat16: recent CUDA GPUs, and CPUs with Intel AMX.

    Without them bfloat16 is slower than float32.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


class NetworkEvaluators:
    """Evaluators for one network's successive weights, with the engine that suits the device.

    `engine` as in `SelfPlayConfig`. The network is exported to ONNX once; later weights are
    filled into that.
    """

    def __init__(self, game: Game, *, engine: str = "auto", device: str = "cpu") -> None:
        if engine == "auto":
            engine = "bfloat16" if multiplies_bfloat16(device) else "onnx" if device == "cpu" else "torch"
        if engine == "onnx" and device != "cpu":
            raise ValueError(f'the ONNX engine runs on the CPU, not on {device}; use engine = "torch" or "bfloat16"')
        self.game, self.engine, self.device = game, engine, device
        self.exported: onnx.ModelProto | None = None

    def __call__(self, module: InferenceModule) -> Evaluator:
        """A new evaluator with the module's weights; the module itself is left as it is."""
        if self.engine != "onnx":
            dtype = torch.bfloat16 if self.engine == "bfloat16" else torch.float32
            return TorchEvaluator(self.game, copy.deepcopy(module), device=self.device, dtype=dtype)
        if self.exported is None:
            self.exported = to_onnx(module, self.game.observation_shape)
        return OnnxEvaluator(self.game, with_weights(self.exported, module))


class TimedEvaluator:
    """Counts what an evaluator is asked for: calls, evaluations, and seconds of its thread's CPU time."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.evaluations, self.seconds = 0, 0.0

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
        start = time.thread_time()
        evaluation = self.evaluator(states, generator)
        self.seconds += time.thread_time() - start
        self.evaluations += len(evaluation.value)
        return evaluation


class CachedEvaluator:
    """Remembers what an evaluator said of discrete positions, by `game.key` and the weights' version.

    Bounded: `capacity` positions, in buckets of four; a full bucket forgets its oldest. Found
    positions cost no evaluation. `renew` brings a new evaluator, and forgets all that the one
    before it said. Lives on the CPU. One thread at a time.
    """

    WAYS = 4

    def __init__(self, game: Game, evaluator: Evaluator, *, capacity: int) -> None:
        if game.key(game.initial(1)) is None:
            raise ValueError(f"{game.name} has no `key`, so its evaluations cannot be cached; set self_play.cache = 0")
        self.game, self.evaluator = game, evaluator
        buckets = max(1, capacity // self.WAYS)
        width = num_actions(game)
        self.version = 1
        self.keys = np.zeros((buckets, self.WAYS), np.int64)
        self.versions = np.zeros((buckets, self.WAYS), np.int32)
        self.clock = np.zeros(buckets, np.uint8)  # the way that the next entry overwrites
        self.logits = np.zeros((buckets, self.WAYS, width), np.float32)
        self.values = np.zeros((buckets, self.WAYS), np.float32)
        self.asked, self.found = 0, 0

    def renew(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.version += 1

    def __call__(self, states: State, generator: torch.Generator) -> Evaluation:
        key = self.game.key(states)
        assert key is not None
        keys = key.numpy()
        batch = len(keys)
        logits = np.empty((batch, self.logits.shape[2]), np.float32)
        values = np.empty(batch, np.float32)
        missing = np.empty(batch, np.int64)
        count = _look_up(keys, self.version, self.keys, self.versions, self.logits, self.values, logits, values, missing)
        self.asked += batch
        self.found += batch - count
        if count:
            index = missing[:count]
            asked = states if count == batch else take(states, torch.from_numpy(index))
            new = self.evaluator(asked, generator)
            _insert(
                keys, index, new.logits.numpy(), new.value.numpy(), self.version,
                self.keys, self.versions, self.clock, self.logits, self.values, logits, values,
            )  # fmt: skip
        return Evaluation(torch.from_numpy(logits), torch.from_numpy(values))


@njit(nogil=True, cache=True)
def _bucket(key, buckets):
    """Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4)."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((mixed ^ (mixed >> np.uint64(32))) % np.uint64(buckets))


@njit(nogil=True, cache=True)
def _look_up(keys, version, table, versions, table_logits, table_values, logits, values, missing):
    """Fills in what is known, lists the rest in `missing`, and returns their number."""
    count = 0
    for i in range(len(keys)):
        bucket = _bucket(keys[i], table.shape[0])
        known = False
        for way in range(table.shape[1]):
            if versions[bucket, way] == version and table[bucket, way] == keys[i]:
                for a in range(logits.shape[1]):
                    logits[i, a] = table_logits[bucket, way, a]
                values[i] = table_values[bucket, way]
                known = True
                break
        if not known:
            missing[count] = i
            count += 1
    return count


@njit(nogil=True, cache=True)
def _insert(keys, index, new_logits, new_values, version, table, versions, clock, table_logits, table_values, logits, values):
    for j in range(len(index)):
        i = index[j]
        bucket = _bucket(keys[i], table.shape[0])
        way = clock[bucket]
        clock[bucket] = (way + 1) % table.shape[1]
        table[bucket, way], versions[bucket, way] = keys[i], version
        table_values[bucket, way] = values[i] = new_values[j]
        for a in range(logits.shape[1]):
            table_logits[bucket, way, a] = logits[i, a] = new_logits[j, a]
