"""Evaluators with a network, in torch or in ONNX Runtime; see `alphazero.mcts.evaluator`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any, Generic

import onnx
import onnxruntime
import torch
from torch import Tensor

from alphazero.game import Game, S
from alphazero.mcts.evaluator import Evaluation, Evaluator
from alphazero.mcts.policy import policy_of
from alphazero.network.architectures import InferenceModule, lay_out, multiplies_bfloat16, to_onnx, with_weights
from alphazero.network.cudnn import fused

PADDING = 16  # batches of torch networks on the CPU are filled up to a multiple of this


class TorchEvaluator(Generic[S]):
    """The network in torch, on any device; `dtype` bfloat16 or float32. Can be differentiated by the states."""

    def __init__(self, game: Game[S], module: InferenceModule, *, device: str = "cpu", dtype: torch.dtype) -> None:
        self.game, self.dtype = game, dtype
        self.module = module.to(device=device, dtype=dtype)
        self.layout = lay_out(self.module, game.observation_shape)
        self.predict = fused(self.module)

    def weights(self) -> Mapping[str, Tensor]:
        return self.module.state_dict()

    def __call__(self, states: S, generator: torch.Generator) -> Evaluation:
        observation = self.game.observe(states)
        batch = len(observation)
        if observation.device.type == "cpu":
            # oneDNN compiles its kernels anew for every size of batch, and keeps them: few sizes, then.
            room = observation.new_zeros(-(-batch // PADDING) * PADDING, *observation.shape[1:])
            room[:batch] = observation
            observation = room
        predict = self.module if observation.requires_grad else self.predict
        logits, value = predict(observation.to(self.dtype, memory_format=self.layout))
        return Evaluation(logits[:batch].float(), value[:batch].float())


class OnnxEvaluator(Generic[S]):
    """The network in ONNX Runtime on the CPU, by default on one thread: streams run side by side instead.

    `module` is the same in torch: where it is given, values can be differentiated by the states; elsewhere they are
    constants. Can be pickled, to go to another process.
    """

    def __init__(
        self, game: Game[S], model: onnx.ModelProto | bytes, *, module: InferenceModule | None = None, threads: int = 1
    ) -> None:
        self.game, self.module, self.threads = game, module, threads
        self.serialized = model if isinstance(model, bytes) else model.SerializeToString()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.session = onnxruntime.InferenceSession(self.serialized, options, providers=["CPUExecutionProvider"])

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(OnnxEvaluator, module=self.module, threads=self.threads), (self.game, self.serialized)

    def __call__(self, states: S, generator: torch.Generator) -> Evaluation:
        observation = self.game.observe(states)
        if observation.requires_grad and self.module is not None:
            return Evaluation(*self.module(observation))
        logits, value = self.session.run(["logits", "value"], {"observation": observation.detach().numpy()})
        return Evaluation(torch.from_numpy(logits), torch.from_numpy(value))


class NetworkEvaluators(Generic[S]):
    """Evaluators for one network's successive weights, with the engine that suits the device.

    `engine` as in `SelfPlayConfig`. The network is exported to ONNX once; later weights are
    filled into that. `threads` of ONNX Runtime for each operation.
    """

    def __init__(self, game: Game[S], *, engine: str = "auto", device: str = "cpu", threads: int = 1) -> None:
        if engine == "auto":
            fast = multiplies_bfloat16(device) and policy_of(game).bfloat16_suffices
            engine = "bfloat16" if fast else "onnx" if device == "cpu" else "torch"
        if engine == "onnx" and device != "cpu":
            raise ValueError(f'the ONNX engine runs on the CPU, not on {device}; use engine = "torch" or "bfloat16"')
        self.game, self.engine, self.device, self.threads = game, engine, device, threads
        self.exported: onnx.ModelProto | None = None

    def __call__(self, module: InferenceModule) -> Evaluator[S]:
        """A new evaluator with the module's weights; the module itself is left as it is."""
        if self.engine != "onnx":
            dtype = torch.bfloat16 if self.engine == "bfloat16" else torch.float32
            return TorchEvaluator(self.game, copy.deepcopy(module), device=self.device, dtype=dtype)
        if self.exported is None:
            self.exported = to_onnx(module, self.game.observation_shape)
        return OnnxEvaluator(self.game, with_weights(self.exported, module), module=module, threads=self.threads)
