"""Evaluators with a network, in torch or in ONNX Runtime; see `alphazero.mcts.evaluator`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any, Generic, Protocol, runtime_checkable

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from alphazero.game import Game, S
from alphazero.game.messages import shortened
from alphazero.mcts.evaluator import Evaluation, EvaluationError, Evaluator
from alphazero.mcts.policy import policy_of
from alphazero.network.architectures import InferenceModule, lay_out, with_weights
from alphazero.network.cache import CachedEvaluator
from alphazero.network.cudnn import fused
from alphazero.network.export_cache import exported
from alphazero.network.int8 import largest_weight, quantized, ranges

TOLERANCE = 1e-3  # of values beyond [-1, 1], by rounding
PADDING = 16  # batches of torch networks on the CPU are filled up to a multiple of this


class TorchEvaluator(Generic[S]):
    """The network in torch, on any device; `dtype` bfloat16 or float32. Can be differentiated by the states."""

    def __init__(self, game: Game[S], module: InferenceModule, *, device: str = "cpu", dtype: torch.dtype) -> None:
        self.game, self.dtype = game, dtype
        self.module = module.to(device=device, dtype=dtype)
        self.layout = lay_out(self.module, game.observation_shape)
        self.predict = fused(self.module)
        # The parameters themselves: gathered anew for each search they would take longer than all else before it.
        self._weights = dict(self.module.named_parameters()) | dict(self.module.named_buffers())

    def weights(self) -> Mapping[str, Tensor]:
        return self._weights

    def __call__(self, states: S, generator: torch.Generator) -> Evaluation:
        return self.predictions(self.game.observe(states))

    def predictions(self, observation: Tensor) -> Evaluation:
        """The network's answers about observations [B, *observation_shape]."""
        batch = len(observation)
        if observation.device.type == "cpu":
            # oneDNN compiles its kernels anew for every size of batch, and keeps them: few sizes, then.
            room = observation.new_zeros(-(-batch // PADDING) * PADDING, *observation.shape[1:])
            room[:batch] = observation
            observation = room
        predict = self.module if observation.requires_grad else self.predict
        logits, value = predict(observation.to(self.dtype, memory_format=self.layout))
        found = Evaluation(logits[:batch].float(), value[:batch].float())
        # To look at those of a GPU would wait for it.
        if logits.is_cpu and not logits.requires_grad and not (found.logits.sum() + found.value.sum()).isfinite():
            raise EvaluationError("the network answers with values that are no numbers")
        return found


class OnnxEvaluator(Generic[S]):
    """The network in ONNX Runtime on the CPU, by default on one thread: streams run side by side instead.

    `module` is the same in torch: where it is given, values can be differentiated by the states; elsewhere they are
    constants. Can be pickled, to go to another process. EvaluationError if what the network answers is no evaluation.
    """

    def __init__(
        self, game: Game[S], model: onnx.ModelProto | bytes, *, module: InferenceModule | None = None, threads: int = 1
    ) -> None:
        self.game, self.module, self.threads = game, module, threads
        self.outputs = policy_of(game).outputs
        self.serialized = model if isinstance(model, bytes) else model.SerializeToString()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # Threads wait for the next evaluation as long as a search needs to ask for it, and then leave their cores.
        options.add_session_config_entry("session.intra_op.spin_duration_us", "500")
        self.session = onnxruntime.InferenceSession(self.serialized, options, providers=["CPUExecutionProvider"])

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(OnnxEvaluator, module=self.module, threads=self.threads), (self.game, self.serialized)

    def __call__(self, states: S, generator: torch.Generator) -> Evaluation:
        return self.predictions(self.game.observe(states))

    def predictions(self, observation: Tensor) -> Evaluation:
        """The network's answers about observations [B, *observation_shape]."""
        if observation.requires_grad and self.module is not None:
            return Evaluation(*self.module(observation))
        try:
            logits, value = self.session.run(["logits", "value"], {"observation": observation.detach().numpy()})
        except Exception as error:  # its own kinds, which have no base in common
            words = " ".join(str(error).split())
            raise EvaluationError(f"ONNX Runtime cannot evaluate the network: {shortened(words, 200)}") from error
        if logits.shape != (len(observation), self.outputs) or value.shape != (len(observation),):
            raise EvaluationError(f"the network answers with arrays of other sizes: {logits.shape} and {value.shape}")
        if not (np.isfinite(logits).all() and (np.abs(value) <= 1 + TOLERANCE).all()):
            raise EvaluationError("the network answers with values that are no numbers, or not within [-1, 1]")
        return Evaluation(torch.from_numpy(logits), torch.from_numpy(value))


@runtime_checkable
class Predicts(Protocol):
    """An evaluator by a network, which answers about observations [B, *observation_shape] as well."""

    def predictions(self, observation: Tensor) -> Evaluation:
        """The network's answers."""


class SymmetricEvaluator(Generic[S]):
    """The mean of a network's answers about a position as it is and under every symmetry of its game.

    It takes as many evaluations as there are symmetries, and one more. AlphaGo Zero draws one of them at random.
    """

    def __init__(self, game: Game[S], network: Predicts) -> None:
        self.game, self.network = game, network

    def __call__(self, states: S, generator: torch.Generator) -> Evaluation:
        observation = self.game.observe(states)
        evaluation = self.network.predictions(observation)
        logits, value = evaluation.logits.log_softmax(1), evaluation.value
        symmetries = self.game.symmetries()
        for symmetry in symmetries:
            mapped = self.network.predictions(symmetry.observation(observation))
            back = torch.tensor(symmetry.actions).argsort()
            logits = logits + mapped.logits.log_softmax(1)[:, back]
            value = value + mapped.value
        count = 1 + len(symmetries)
        return Evaluation(logits / count, value / count)


def averaged(game: Game[S], evaluator: Evaluator[S]) -> Evaluator[S]:
    """The evaluator averaged over the game's symmetries, where it is a network's and the game has some.

    Without its cache, which holds the answers about positions as they are.
    """
    network = evaluator.evaluator if isinstance(evaluator, CachedEvaluator) else evaluator
    if isinstance(network, Predicts) and game.discrete and game.symmetries():
        return SymmetricEvaluator(game, network)
    return evaluator


class NetworkEvaluators(Generic[S]):
    """Evaluators for one network's successive weights, with an engine of `network.engines`.

    The network is exported to ONNX once; later weights are filled into that. `threads` of ONNX Runtime for each
    operation.
    """

    def __init__(self, game: Game[S], *, engine: str, device: str = "cpu", threads: int = 1) -> None:
        if engine in ("onnx", "int8") and device != "cpu":
            raise ValueError(f'the engine {engine} runs on the CPU, not on {device}; use "torch" or "bfloat16"')
        self.game, self.engine, self.device, self.threads = game, engine, device, threads
        self.exported: onnx.ModelProto | None = None

    def __call__(self, module: InferenceModule, positions: S | None = None) -> Evaluator[S]:
        """A new evaluator with the module's weights; the module itself is left as it is.

        positions: what the network will meet; a hundred or more, from which int8 takes its scales.
        """
        if self.engine in ("torch", "bfloat16"):
            dtype = torch.bfloat16 if self.engine == "bfloat16" else torch.float32
            return TorchEvaluator(self.game, copy.deepcopy(module), device=self.device, dtype=dtype)
        if self.exported is None:
            self.exported = exported(module, self.game.observation_shape)
        model = with_weights(self.exported, module)
        if self.engine == "int8":
            if positions is None:
                raise ValueError("the engine int8 needs positions to take its scales from")
            found = ranges(model, self.game.observe(positions).numpy())
            model = quantized(model, found, largest=largest_weight(torch.cpu.get_capabilities()))
            return OnnxEvaluator(self.game, model, threads=self.threads)
        return OnnxEvaluator(self.game, model, module=module, threads=self.threads)
