"""Networks in int8: an ONNX model whose layers multiply whole numbers, up to three times as fast as float32 on a CPU.

Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only inference":
a real number is r = S (q - Z), equation 1, with a scale S and a zero point Z. Activations are uint8 and their scales
are fixed beforehand, from what the network does in positions of its games; weights are int8 with a scale for each
channel; sums and biases are int32. Layers between two ReLUs are quantized, and additions of their results. The first
layer, whose inputs are boards, and the heads' last ones stay float32: they take little time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

CONTRIBUTED = "com.microsoft"  # the domain of ONNX Runtime's own operations


class Range(NamedTuple):
    """The least and the greatest value of an activation, 0 among them."""

    low: float
    high: float

    @property
    def scale(self) -> np.float32:
        return np.float32(max(self.high - self.low, 1e-6) / 255)

    @property
    def zero_point(self) -> np.uint8:
        """What stands for 0, which must be exact: convolutions pad with it. After a ReLU it is 0."""
        return np.uint8(round(-self.low / float(self.scale)))


class Quantizable(NamedTuple):
    """The parts of a model that can be in int8.

    ends:        the operations by their output, and the output of the ReLU that each ends with, or its own.
    activations: all that must be quantized for them.
    """

    ends: dict[str, str]
    activations: set[str]


def quantizable(model: onnx.ModelProto) -> Quantizable:
    makers = {output: node for node in model.graph.node for output in node.output}
    users = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            users[name].append(node)
    ends: dict[str, str] = {}
    activations: set[str] = set()
    for node in model.graph.node:
        output, kinds = node.output[0], {user.op_type for user in users[node.output[0]]}
        end = users[output][0].output[0] if kinds == {"Relu"} else output
        if node.op_type in ("Conv", "Gemm") and kinds in ({"Relu"}, {"Add"}):
            if node.input[0] in makers and makers[node.input[0]].op_type == "Relu":
                ends[output] = end
                activations |= {node.input[0], end}
        elif node.op_type == "Add" and kinds == {"Relu"} and activations.issuperset(node.input):
            ends[output] = end
            activations.add(end)
    return Quantizable(ends, activations)


def ranges(model: onnx.ModelProto, observations: NDArray[np.float32]) -> dict[str, Range]:
    """The ranges of the activations to quantize, over observations [M, ...] that the network meets in play."""
    names = sorted(quantizable(model).activations)
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    del seen.graph.output[:]
    seen.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(seen.SerializeToString(), options, providers=["CPUExecutionProvider"])
    arrays = session.run(names, {"observation": observations})
    return {
        name: Range(min(0.0, float(a.min())), max(0.0, float(a.max()))) for name, a in zip(names, arrays, strict=True)
    }


def quantized(model: onnx.ModelProto, found: Mapping[str, Range], *, limit: int = 127) -> onnx.ModelProto:
    """The model in int8, for activations within the ranges that were found.

    limit: the largest weight: 127, or 63 for processors that add pairs of products in 16 bits, where more overflows.
    """
    ends, activations = quantizable(model)
    skipped = set(ends.values()) - ends.keys()  # ReLUs, which the range of their output replaces
    weights = {initializer.name: numpy_helper.to_array(initializer) for initializer in model.graph.initializer}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    used: dict[str, onnx.TensorProto] = {}

    def constant(name: str, array: NDArray[np.generic] | np.generic) -> str:
        used[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    def levels(name: str) -> list[str]:
        """The names of an activation's scale and zero point."""
        scale, zero_point = found[name].scale, found[name].zero_point
        return [constant(f"{name}.scale", scale), constant(f"{name}.zero_point", zero_point)]

    def whole(name: str) -> str:
        return f"{name}.uint8"

    def layer(node: onnx.NodeProto, end: str) -> onnx.NodeProto:
        """The layer with its weights rounded to whole numbers, a scale for each of its output channels."""
        source, name = node.input[0], node.input[1]
        weight, bias = weights[name], weights[node.input[2]]
        scale = np.abs(weight).reshape(len(weight), -1).max(1).clip(1e-6) / np.float32(limit)
        rounded = np.rint((weight.T / scale).T).astype(np.int8)
        summed = np.rint(bias / (scale * found[source].scale)).astype(np.int32)
        dense = node.op_type == "Gemm"
        factors = [
            constant(f"{name}.int8", np.ascontiguousarray(rounded.T) if dense else rounded),
            constant(f"{name}.scale", scale),
            constant(f"{name}.zero_point", np.zeros(len(scale), np.int8)),
        ]
        summand = constant(f"{name}.bias", summed)
        inputs = [whole(source), *levels(source), *factors]
        if dense:
            inputs += [summand, *levels(end)]
            return helper.make_node("QGemm", inputs, [whole(end)], domain=CONTRIBUTED)
        new = helper.make_node("QLinearConv", [*inputs, *levels(end), summand], [whole(end)])
        new.attribute.extend(node.attribute)
        return new

    read: set[str] = set()  # activations that some operation needs as they were
    for node in model.graph.node:
        output = node.output[0]
        if output in ends and node.op_type == "Add":
            inputs = [part for name in node.input for part in (whole(name), *levels(name))]
            new = helper.make_node(
                "QLinearAdd", inputs + levels(ends[output]), [whole(ends[output])], domain=CONTRIBUTED
            )
            graph.node.append(new)
        elif output in ends:
            graph.node.append(layer(node, ends[output]))
        elif output not in skipped:
            for name in activations.intersection(node.input) - read:
                if name in {*ends.values()}:
                    graph.node.append(helper.make_node("DequantizeLinear", [whole(name), *levels(name)], [name]))
                    read.add(name)
            graph.node.append(node)
            if output in activations:
                graph.node.append(helper.make_node("QuantizeLinear", [output, *levels(output)], [whole(output)]))
            used |= {i.name: i for i in model.graph.initializer if i.name in node.input}
    graph.initializer.extend(used.values())
    result.opset_import.append(helper.make_opsetid(CONTRIBUTED, 1))
    return result
