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
    "Abs", "Add", "And", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "Cos", "Div", "Elu",
    "Equal", "Erf", "Exp", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity",
    "InstanceNormalization", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul",
    "Max", "MaxPool", "Min", "Mish", "Mul", "Neg", "Not", "Or", "PRelu", "Pad", "Pow", "Reciprocal", "ReduceL2",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Selu", "Shape",
    "Sigmoid", "Sign", "Sin", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Tile",
    "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
# Whole numbers are shapes and places. None is computed: so a shape that is small for two batches is so for all between.
OF_SHAPES = {"Cast", "Concat", "Gather", "Identity", "Reshape", "Shape", "Slice", "Squeeze", "Unsqueeze"}
BATCHES = (2, 4_096)  # positions at once for which all shapes are found
NUMBERS = (TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL)
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
            most = MOST_ACTIVATIONS if attribute.name == "group" else SMALL  # of channels, which makes products fewer
            if attribute.type not in PLAIN or not all(abs(number) <= most for number in numbers):
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
        if tensor.data_type not in NUMBERS or tensor.name in sizes:
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
    for batch in BATCHES:
        _check_sizes(plain, game, weights, batch)


def _check_sizes(plain: onnx.ModelProto, game: Game, weights: Mapping[str, tuple[int, ...]], batch: int) -> None:
    """ValueError unless all that the model computes of so many positions is of a bounded size."""
    for end in (*plain.graph.input, *plain.graph.output):
        if end.type.tensor_type.shape.dim:
            end.type.tensor_type.shape.dim[0].dim_value = batch
    with foreign_errors("its shapes do not fit together"):
        found = onnx.shape_inference.infer_shapes(plain, check_type=True, strict_mode=True, data_prop=True).graph
    _check_ends(found.output, game, batch)
    values = {value.name: value for value in (*found.input, *found.output, *found.value_info)}
    shapes = {name: _shape(value) for name, value in values.items()} | {name: [*of] for name, of in weights.items()}
    fixed, products, constants = {*weights, ""}, 0, 0
    for node in found.node:
        of_weights = fixed.issuperset(node.input)
        for name in node.output:
            shape = [side for side in shapes.get(name, UNKNOWN) if side is not None]
            size = math.prod(shape)
            whole = name in values and values[name].type.tensor_type.elem_type == TensorProto.INT64
            if whole and node.op_type not in OF_SHAPES:
                raise ValueError(f"{printable(name)}: {node.op_type} computes whole numbers, as no network here does")
            if shape != shapes.get(name, UNKNOWN) or (size > batch * MOST_ACTIVATIONS and not of_weights):
                raise ValueError(f"{printable(name)} is of no known size, or of more than {MOST_ACTIVATIONS:,} numbers")
            if of_weights:  # computed once, and kept
                fixed.add(name)
                constants += size
            if node.op_type in ("Conv", "Gemm", "MatMul"):
                products += size * _inner(node.op_type, shapes.get(node.input[1], UNKNOWN))
    if constants > MOST_PARAMETERS:
        raise ValueError(f"it computes {constants:,} numbers of its weights alone, more than {MOST_PARAMETERS:,}")
    if products > batch * MOST_PRODUCTS:
        told = f"it takes {products // batch:,} multiplications for a position, more than {MOST_PRODUCTS:,}"
        raise ValueError(told)


def _inner(operation: str, weight: list[int | None]) -> int:
    """Multiplications at the most for a number of the result, by the shape of what is multiplied with."""
    sides = [MOST_PRODUCTS if side is None else side for side in weight]
    if operation == "MatMul":
        return sides[-2] if len(sides) > 1 else sides[0]
    return max(sides[0], math.prod(sides[1:]))


def _check_ends(ends: Iterable[onnx.ValueInfoProto], game: Game, batch: int | None = None) -> None:
    """ValueError if an input or an output has not the shape that it has for this game. batch: as it was inferred."""
    of_one = {"observation": game.observation_shape, "logits": [policy_of(game).outputs], "value": []}
    for end in ends:
        if (shape := _shape(end)) != (right := [batch, *of_one[end.name]]):
            shape[:1] = [None] if shape[:1] == [batch] else shape[:1]
            raise ValueError(f"{end.name} is {_words(shape)}, not {_words([None, *right[1:]])}")


def _shape(value: onnx.ValueInfoProto) -> list[int | None]:
    """None: not known beforehand."""
    of = value.type.tensor_type
    if of.elem_type not in NUMBERS or not of.HasField("shape"):
        return [*UNKNOWN]
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
