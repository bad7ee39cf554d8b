"""Networks' ONNX graphs, kept for the next process: an export takes seconds, and most networks are built alike.

They lie in the user's cache (`~/.cache/alphazero`), without weights, and may be removed at any time.
"""

from __future__ import annotations

import copy
import hashlib
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import onnx
import onnxruntime
import torch

from alphazero.game.own_files import own_folder, write_own
from alphazero.network.architectures import ONNX_OPSET, InferenceModule, to_onnx, with_weights

LARGEST = 1 << 24  # bytes of a graph


@torch.inference_mode()
def exported(module: InferenceModule, observation_shape: tuple[int, ...]) -> onnx.ModelProto:
    """As `to_onnx`, from the cache if it is there and computes what the module does."""
    place = None
    with suppress(Exception):  # whatever is wrong with a cache, there is another way
        place = _place(module, observation_shape)
        if place.stat().st_size <= LARGEST:
            kept = onnx.load_model_from_string(place.read_bytes())
            if _computes_the_same(kept, module, observation_shape):
                return with_weights(kept, module)
    model = to_onnx(module, observation_shape)
    if place:
        with suppress(OSError):  # a full disk, or one that cannot be written to
            write_own(place, _without_weights(model, module).SerializeToString())
    return model


def _place(module: InferenceModule, observation_shape: tuple[int, ...]) -> Path:
    """Its file: named after all that a graph depends on but the code of `forward`. RuntimeError if there is no home."""
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    exporter = torch.__version__, version("onnx"), version("onnxscript"), ONNX_OPSET
    of = repr((str(module), shapes, observation_shape, exporter))
    return own_folder("XDG_CACHE_HOME", ".cache") / f"{hashlib.sha256(of.encode()).hexdigest()[:32]}.onnx"


def _computes_the_same(model: onnx.ModelProto, module: InferenceModule, observation_shape: tuple[int, ...]) -> bool:
    """Whether they answer alike, with numbers without pattern for weights: a fresh network's heads are 0."""
    generator, filled = torch.Generator().manual_seed(0), copy.deepcopy(module)
    for parameter in filled.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.1
        parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    observation = torch.randn(3, *observation_shape, generator=generator)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # others need the cores
    serialized = with_weights(model, filled).SerializeToString()
    session = onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
    answers = session.run(["logits", "value"], {"observation": observation.numpy()})
    return all(
        torch.allclose(torch.from_numpy(answer), expected, rtol=1e-3, atol=1e-4)
        for answer, expected in zip(answers, filled(observation), strict=True)
    )


def _without_weights(model: onnx.ModelProto, module: InferenceModule) -> onnx.ModelProto:
    graph, weights = copy.deepcopy(model), module.state_dict()
    for initializer in graph.graph.initializer:
        if initializer.name in weights:
            initializer.ClearField("raw_data")
    return graph
