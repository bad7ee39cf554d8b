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
    if not names:
        return {}
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


def largest_weight(processor: Mapping[str, object]) -> int:
    """The largest whole number for a weight: 127, but 63 on x86 without VNNI.

    Such a processor adds pairs of products in 16 bits, where those of larger ones overflow (`vpmaddubsw` saturates).
    processor: what it can do, by torch's names.
    """
    adds_in_16_bits = processor.get("avx2") and not any(map(processor.get, ("avx512_vnni", "avx_vnni", "amx_int8")))
    return 63 if adds_in_16_bits else 127


def quantized(model: onnx.ModelProto, found: Mapping[str, Range], *, largest: int = 127) -> onnx.ModelProto:
    """The model in int8, for activations within the ranges that were found; `largest` as `largest_weight` says."""
    return _Quantizer(model, found, largest).model()


class _Quantizer:
    """Writes a model's nodes anew, in int8 where that is possible. `x.uint8` is the activation x in whole numbers."""

    def __init__(self, old: onnx.ModelProto, found: Mapping[str, Range], largest: int) -> None:
        self.old, self.found, self.largest = old, found, np.float32(largest)
        self.ends, self.activations = quantizable(old)
        self.tensors = {tensor.name: tensor for tensor in old.graph.initializer}
        self.constants: dict[str, onnx.TensorProto] = {}
        self.nodes: list[onnx.NodeProto] = []

    def model(self) -> onnx.ModelProto:
        whole = set(self.ends.values())  # activations that are there in whole numbers alone, unless somebody asks
        relus = whole - self.ends.keys()  # their ranges begin at 0, which does what a ReLU does
        for node in self.old.graph.node:
            output = node.output[0]
            if output in self.ends:
                self.add_addition(node) if node.op_type == "Add" else self.add_layer(node)
            elif output not in relus:
                for name in sorted(whole.intersection(node.input)):
                    self.add("DequantizeLinear", [f"{name}.uint8", *self.levels(name)], name)
                    whole.remove(name)
                self.nodes.append(node)
                self.constants |= {name: self.tensors[name] for name in node.input if name in self.tensors}
                if output in self.activations:
                    self.add("QuantizeLinear", [output, *self.levels(output)], f"{output}.uint8")
        graph = self.old.graph
        new = helper.make_graph(self.nodes, graph.name, graph.input, graph.output, list(self.constants.values()))
        opsets = [*self.old.opset_import, helper.make_opsetid(CONTRIBUTED, 1)]
        return helper.make_model(new, opset_imports=opsets, ir_version=self.old.ir_version)

    def add(self, kind: str, inputs: list[str], output: str, *, domain: str = "") -> onnx.NodeProto:
        self.nodes.append(helper.make_node(kind, inputs, [output], domain=domain))
        return self.nodes[-1]

    def constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def levels(self, name: str) -> list[str]:
        """The names of an activation's scale and zero point."""
        level = self.found[name]
        return [self.constant(f"{name}.scale", level.scale), self.constant(f"{name}.zero_point", level.zero_point)]

    def add_addition(self, node: onnx.NodeProto) -> None:
        end = self.ends[node.output[0]]
        inputs = [part for name in node.input for part in (f"{name}.uint8", *self.levels(name))]
        self.add("QLinearAdd", [*inputs, *self.levels(end)], f"{end}.uint8", domain=CONTRIBUTED)

    def add_layer(self, node: onnx.NodeProto) -> None:
        """A layer whose weights are rounded to whole numbers, with a scale for each of its output channels."""
        source, name, end = node.input[0], node.input[1], self.ends[node.output[0]]
        weight, bias = (numpy_helper.to_array(self.tensors[tensor]) for tensor in node.input[1:])
        step = self.found[source].scale
        scale = np.abs(weight).reshape(len(weight), -1).max(1) / self.largest
        scale = np.maximum(scale, np.abs(bias) / (step * 2**30)).clip(1e-12).astype(np.float32)  # the bias must fit
        rounded = np.rint((weight.T / scale).T).astype(np.int8)
        dense = node.op_type == "Gemm"
        factors = [
            self.constant(f"{name}.int8", np.ascontiguousarray(rounded.T) if dense else rounded),
            self.constant(f"{name}.scale", scale),
            self.constant(f"{name}.zero_point", np.zeros_like(rounded[:, 0], shape=len(scale))),
        ]
        summand = self.constant(f"{name}.bias", np.rint(bias / (scale * step)).astype(np.int32))
        inputs, levels = [f"{source}.uint8", *self.levels(source), *factors], self.levels(end)
        if dense:
            self.add("QGemm", [*inputs, summand, *levels], f"{end}.uint8", domain=CONTRIBUTED)
        else:
            self.add("QLinearConv", [*inputs, *levels, summand], f"{end}.uint8").attribute.extend(node.attribute)
