"""Exported networks, read back: an ONNX model runs only if it is of the kind that `architectures.to_onnx` writes.

ONNX can say far more than a network: other operations, loops, files beside it, tensors of any size. Everything that
decides about memory and time is checked before ONNX Runtime sees the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import onnx
import torch
from onnx import AttributeProto, TensorProto

from alphazero.game import Game
from alphazero.game.messages import foreign_errors, printable
from alphazero.mcts.evaluator import EvaluationError
from alphazero.mcts.policy import policy_of
from alphazero.network.architectures import MOST_ACTIVATIONS, MOST_PARAMETERS, InferenceModule
from alphazero.network.inference import OnnxEvaluator

LARGEST = 4 * MOST_PARAMETERS + (1 << 24)  # bytes
MOST_NODES = 20_000
MOST_PRODUCTS = 1 << 38  # multiplications for a position; AlphaGo Zero's larger network takes 2^34
SMALL = 8  # the largest number in an operation's settings, and side of a convolution's kernel
# Those that exports of torch consist of; none makes large out of small but by its shape, which is known beforehand.
OPERATIONS = {
    "Add", "Conv", "Flatten", "Gather", "Gemm", "Identity", "Mul", "Relu", "Reshape", "Slice", "Softmax", "Squeeze",
    "Sub", "Tanh", "Transpose", "Unsqueeze",
}  # fmt: skip
UNKNOWN: list[int | None] = [None, None]  # a shape
PLAIN = (AttributeProto.INT, AttributeProto.INTS, AttributeProto.FLOAT, AttributeProto.FLOATS, AttributeProto.STRING)


def read_model(serialized: bytes, game: Game) -> onnx.ModelProto:
    """The model, for a network of this game. ValueError if it is anything else, or too large."""
    if len(serialized) > LARGEST:
        raise ValueError(f"it has {len(serialized):,} bytes, more than {LARGEST:,}")
    with foreign_errors("it is no ONNX model"):
        model = onnx.load_from_string(serialized)
    graph = model.graph
    if any(tensor.external_data or tensor.data_location != TensorProto.DEFAULT for tensor in graph.initializer):
        raise ValueError("it keeps numbers in other files, of which none is read")
    if model.functions or model.training_info or graph.sparse_initializer or len(graph.node) > MOST_NODES:
        raise ValueError("it is no network as it is exported here: it has functions, or too many operations")
    sizes = _initializers(graph)
    for node in graph.node:
        if node.domain or node.op_type not in OPERATIONS:
            raise ValueError(f"it has the operation {printable(node.op_type)}, which no network here has")
        for attribute in node.attribute:
            numbers = [attribute.i, *attribute.ints, attribute.f, *attribute.floats]
            if attribute.type not in PLAIN or not all(abs(number) <= SMALL for number in numbers):
                raise ValueError(f"{node.op_type} has a setting, {printable(attribute.name)}, that no network here has")
        used = [sizes[name] for name in node.input if name in sizes]
        if node.op_type == "Conv" and any(side > SMALL for dims in used for side in dims[2:]):
            raise ValueError("it has larger convolutions than any network here")
    _check_shapes(model, game, sizes)
    return model


def _initializers(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """The shapes of the model's numbers, by name. ValueError if they are not whole or not finite."""
    sizes: dict[str, tuple[int, ...]] = {}
    for tensor in graph.initializer:
        name = printable(tensor.name)
        if tensor.data_type not in (TensorProto.FLOAT, TensorProto.INT64) or tensor.name in sizes:
            raise ValueError(f"{name} is of a type that no network here has, or is there twice")
        with foreign_errors(f"{name} is damaged"):
            array = onnx.numpy_helper.to_array(tensor)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are no finite numbers")
        sizes[tensor.name] = array.shape
    return sizes


def _check_shapes(model: onnx.ModelProto, game: Game, weights: Mapping[str, tuple[int, ...]]) -> None:
    """ValueError unless inputs and outputs are an agent's, and all arrays and products on the way of a bounded size."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    inputs, outputs = ({value.name for value in values} for values in (plain.graph.input, plain.graph.output))
    if len(plain.graph.input) != 1 or (inputs, outputs) != ({"observation"}, {"logits", "value"}):
        raise ValueError("it has other inputs and outputs than observation, logits and value")
    _check_ends(plain.graph.input, game)  # first: onnx counts along a side of any length
    del plain.graph.value_info[:]  # what it says of itself
    with foreign_errors("its shapes do not fit together"):
        found = onnx.shape_inference.infer_shapes(plain, check_type=True, strict_mode=True, data_prop=True).graph
    _check_ends(found.output, game)
    shapes = {value.name: _shape(value) for value in (*found.input, *found.output, *found.value_info)}
    products = 0
    for node in found.node:
        for name in node.output:
            shape = shapes.get(name, UNKNOWN)
            size = math.prod(known := [side for side in shape if side is not None])
            if len(known) != len(shape) - 1 or size > MOST_ACTIVATIONS:  # one side is the batch's
                raise ValueError(f"{printable(name)} is of no known size, or of more than {MOST_ACTIVATIONS:,} numbers")
            if node.op_type in ("Conv", "Gemm"):
                sides = weights.get(node.input[1], (MOST_PRODUCTS,))
                products += size * max(sides[0], math.prod(sides[1:]))
    if products > MOST_PRODUCTS:
        raise ValueError(f"it takes {products:,} multiplications for a position, more than {MOST_PRODUCTS:,}")


def _check_ends(ends: Iterable[onnx.ValueInfoProto], game: Game) -> None:
    """ValueError if an input or an output has not the shape that it has for this game."""
    of_one = {"observation": game.observation_shape, "logits": [policy_of(game).outputs], "value": []}
    for end in ends:
        if (shape := _shape(end)) != (right := [None, *of_one[end.name]]):
            raise ValueError(f"{end.name} is {_words(shape)}, not {_words(right)}")


def _shape(value: onnx.ValueInfoProto) -> list[int | None]:
    """None: not known beforehand."""
    of = value.type.tensor_type
    if of.elem_type not in (TensorProto.FLOAT, TensorProto.INT64) or not of.HasField("shape"):
        return UNKNOWN
    return [size.dim_value if size.HasField("dim_value") else None for size in of.shape.dim]


def _words(shape: list[int | None]) -> str:
    return f"[{', '.join('batch' if size is None else str(size) for size in shape)}]"


def evaluator_of(serialized: bytes, game: Game, module: InferenceModule | None) -> OnnxEvaluator:
    """The model's evaluator. ValueError if it cannot run, answers no numbers, or other ones than the module does.

    serialized: what `read_model` has read. module: the network that it is said to be, if that is known.
    """
    with foreign_errors("ONNX Runtime cannot run it"):
        evaluator = OnnxEvaluator(game, serialized, module=module)
    states = game.initial(2, generator=torch.Generator().manual_seed(0))
    try:
        answer = evaluator(states, torch.Generator())
    except EvaluationError as error:
        raise ValueError(str(error)) from error
    if module is not None:
        logits, value = module(game.observe(states))
        pairs = ((answer.logits, logits), (answer.value, value))
        if not all(torch.allclose(said, computed, rtol=1e-2, atol=1e-2) for said, computed in pairs):
            raise ValueError("its answers are not those of the network that its card describes")
    return evaluator
