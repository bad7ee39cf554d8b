"""Models of strangers: none but networks as they are exported here run, and none takes more than such a network."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from alphazero.config import Config, NetworkConfig
from alphazero.mcts.evaluator import EvaluationError
from alphazero.network.architectures import inference_module, make_network, to_onnx
from alphazero.network.exported import evaluator_of, read_model
from alphazero.network.inference import OnnxEvaluator
from alphazero.runs.agents import export_agent, load_agent
from alphazero.runs.files import RunError
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.networks import CONFIGS, KINDS, trained

Change = Callable[[onnx.ModelProto], object]
GAME = ConnectFour()


@functools.cache
def exported(kind: str) -> bytes:
    return to_onnx(inference_module(trained(kind, 1)), GAME.observation_shape).SerializeToString()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_exported_here_is_read(kind: str) -> None:
    model = read_model(exported(kind), GAME)
    module = inference_module(trained(kind, 1))
    evaluator = evaluator_of(exported(kind), GAME, module)
    states = GAME.initial(3)
    torch.testing.assert_close(evaluator(states, torch.Generator()).logits, module(GAME.observe(states))[0])
    assert model.SerializeToString() == exported(kind)


def weight(model: onnx.ModelProto, part: str) -> TensorProto:
    return next(tensor for tensor in model.graph.initializer if part in tensor.name)


def with_number(part: str, value: float) -> Change:
    def change(model: onnx.ModelProto) -> None:
        tensor = weight(model, part)
        array = numpy_helper.to_array(tensor).copy()
        array.reshape(-1)[0] = value
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return change


def with_setting(operation: str, name: str, value: Any) -> Change:
    def change(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == operation)
        for attribute in [attribute for attribute in node.attribute if attribute.name == name]:
            node.attribute.remove(attribute)
        node.attribute.append(helper.make_attribute(name, value))

    return change


def outside(model: onnx.ModelProto) -> None:
    tensor = weight(model, "policy.weight")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.insert(0, helper.make_node("Loop", ["", ""], ["x"], body=body))


def grown(model: onnx.ModelProto) -> None:
    """An addition that spreads the policy over 2^24 places."""
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1 << 12, 1), np.float32), "column"))
    model.graph.node.append(helper.make_node("Add", ["logits", "column"], ["large"]))


def sized(model: onnx.ModelProto) -> None:
    """Dimensions of 2^44 numbers, none of which is there."""
    tensor = weight(model, "policy.weight")
    del tensor.dims[:]
    tensor.dims.extend([1 << 22, 1 << 22])


def foreign(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.stranger"


def renamed(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "board"


def halved(model: onnx.ModelProto) -> None:
    tensor = weight(model, "policy.weight")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))


def twice(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def narrow(model: onnx.ModelProto) -> None:
    for part in ("policy.weight", "policy.bias"):
        tensor = weight(model, part)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:6], tensor.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 6


def many(model: onnx.ModelProto) -> None:
    """Wide layers that share their weights: a file of megabytes that takes minutes."""
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((64, 2, 1, 1), np.float32), "widen"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((64, 64, 7, 7), np.float32), "wide"))
    source = "observation"
    for number in range(60):
        padding = {"pads": [8] * 4} if number else {}
        weights = "wide" if number else "widen"
        model.graph.node.append(helper.make_node("Conv", [source, weights], [f"x{number}"], **padding))
        source = f"x{number}"


def between(model: onnx.ModelProto) -> None:
    """Products of weights with one another, without any observation: a runtime computes them once, and keeps them."""
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1024, 1024), np.float32), "wide"))
    model.graph.node.extend(helper.make_node("Gemm", ["wide", "wide"], [f"x{number}"]) for number in range(257))


def with_function(model: onnx.ModelProto) -> None:
    identity = [helper.make_node("Identity", ["in"], ["out"])]
    model.functions.append(helper.make_function("own", "f", ["in"], ["out"], identity, []))


def with_training(model: onnx.ModelProto) -> None:
    model.training_info.add()


def with_sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add()


def long(model: onnx.ModelProto) -> None:
    model.graph.node.extend([helper.make_node("Identity", ["observation"], ["same"])] * 20_001)


def large(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((4, 2, 9, 9), np.float32), "wide"))
    model.graph.node.append(helper.make_node("Conv", ["observation", "wide"], ["x"], pads=[4] * 4))


def endless(model: onnx.ModelProto) -> None:
    """onnx takes minutes to find the shapes that follow from this."""
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1 << 40


def numbers(model: onnx.ModelProto, name: str, values: Any, dtype: Any = np.int64) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.array(values, dtype), name))
    return name


def tall(model: onnx.ModelProto) -> None:
    """The logits in one column, so that a row of numbers makes as many of each."""
    column, row = numbers(model, "column", [-1, 1]), numbers(model, "row", np.zeros((1, 1 << 19)), np.float32)
    model.graph.node.append(helper.make_node("Reshape", ["logits", column], ["x"]))
    model.graph.node.append(helper.make_node("Add", ["x", row], ["large"]))


def doubled(model: onnx.ModelProto) -> None:
    """Twice as many rows each time."""
    names = ["logits", *(f"x{number}" for number in range(40))]
    for before, after in itertools.pairwise(names):
        model.graph.node.append(helper.make_node("Concat", [before, before], [after], axis=0))


def squared(model: onnx.ModelProto) -> None:
    """As many positions beside each."""
    one, ends = numbers(model, "one", [1]), [numbers(model, name, [at]) for name, at in (("zero", 0), ("first", 1))]
    nodes = [
        helper.make_node("Shape", ["logits"], ["shape"]),
        helper.make_node("Slice", ["shape", *ends], ["batch"]),
        helper.make_node("Concat", ["batch", "batch", one], ["many"], axis=0),
        helper.make_node("Reshape", ["value", numbers(model, "upright", [-1, 1])], ["column"]),
        helper.make_node("Reshape", ["column", numbers(model, "deep", [-1, 1, 1, 1, 1])], ["x"]),
        helper.make_node("Concat", ["batch", "batch", "batch", "batch", one], ["more"], axis=0),
        helper.make_node("Expand", ["x", "more"], ["large"]),
    ]
    model.graph.node.extend(nodes)


def computed(model: onnx.ModelProto) -> None:
    """A size that is small for two positions, by sums and products of sizes."""
    nodes = [
        helper.make_node("Shape", ["logits"], ["shape"]),
        helper.make_node("Sub", ["shape", numbers(model, "two", [2, 7])], ["less"]),
        helper.make_node("Mul", ["less", "less"], ["many"]),
    ]
    model.graph.node.extend(nodes)


FAULTS: list[tuple[Change, str]] = [
    (with_number("policy.weight", math.nan), "policy.weight' has values that are no finite numbers"),
    (with_number("policy.weight", math.inf), "policy.weight' has values that are no finite numbers"),
    (outside, "it keeps numbers in other files, of which none is read"),
    (loop, "it has the operation 'Loop', which no network here has"),
    (foreign, "it has the operation 'Conv', which no network here has"),
    (with_setting("Conv", "pads", [1 << 20] * 4), "Conv has a setting, 'pads'"),
    (with_setting("Gemm", "alpha", math.nan), "Gemm has a setting, 'alpha'"),
    (with_setting("Gemm", "more", TensorProto()), "Gemm has a setting, 'more'"),
    (grown, "'large' is of no known size, or of more than|its shapes do not fit together"),
    (sized, "policy.weight' is damaged"),
    (renamed, "other inputs and outputs than observation, logits and value"),
    (halved, "is of a type that no network here has"),
    (twice, "is there twice"),
    (narrow, r"logits is \[batch, 6\], not \[batch, 7\]"),
    (many, "it takes [0-9,]+ multiplications for a position|is of no known size, or of more than"),
    *((change, "no network as it is exported here") for change in (with_function, with_training, with_sparse, long)),
    (large, "it has larger convolutions"),
    (endless, r"observation is \[batch, 1099511627776, "),
    (tall, "'large' is of no known size, or of more than"),
    (doubled, "is of no known size, or of more than 1,048,576 numbers"),
    (squared, "'large' is of no known size, or of more than"),
    (computed, "'less': Sub computes whole numbers, as no network here does"),
    (between, "it computes 269,484,032 numbers of its weights alone, more than 268,435,456"),
]


@pytest.mark.parametrize(("change", "said"), FAULTS)
def test_a_model_of_another_kind_is_refused_before_it_runs(change: Change, said: str) -> None:
    model = onnx.load_from_string(exported("residual"))
    change(model)
    serialized = model.SerializeToString()
    tracemalloc.start()
    with pytest.raises(ValueError, match=said):
        read_model(serialized, GAME)
    assert tracemalloc.get_traced_memory()[1] < 1e8
    tracemalloc.stop()


def test_a_network_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alphazero.network.exported.MOST_PRODUCTS", 1_000)
    with pytest.raises(ValueError, match=r"it takes [0-9,]+ multiplications for a position, more than 1,000"):
        read_model(exported("dense"), GAME)


def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    serialized = exported("dense")
    monkeypatch.setattr("alphazero.network.exported.LARGEST", len(serialized) - 1)
    with pytest.raises(ValueError, match=f"it has {len(serialized):,} bytes, more than {len(serialized) - 1:,}"):
        read_model(serialized, GAME)


@pytest.mark.parametrize("content", [b"", b"\xff" * 50, b"\x08\x0a", exported("dense")[:-100]])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (each part has words of its own)
        read_model(content, GAME)


def test_a_network_that_answers_no_number_is_refused_when_it_is_loaded() -> None:
    """All its weights are numbers, but their products overflow."""
    model = onnx.load_from_string(exported("residual"))
    for part in ("stem.weight", "blocks.0.conv1.weight"):
        tensor = weight(model, part)
        tensor.CopyFrom(numpy_helper.from_array(np.full(tensor.dims, 3e38, np.float32), tensor.name))
    serialized = model.SerializeToString()
    read_model(serialized, GAME)
    with pytest.raises(ValueError, match="answers with values that are no numbers"):
        evaluator_of(serialized, GAME, None)


def constant(logits: float, value: float) -> bytes:
    """A model that answers the sum of its observation times a number."""
    shape = list(GAME.observation_shape)
    nodes = [
        helper.make_node("Flatten", ["observation"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "policy"], ["logits"]),
        helper.make_node("Gemm", ["flat", "one"], ["worth"]),
        helper.make_node("Squeeze", ["worth", "axis"], ["value"]),
    ]
    inputs = [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", *shape])]
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 7]),
        helper.make_tensor_value_info("value", TensorProto.FLOAT, ["batch"]),
    ]
    numbers = [
        numpy_helper.from_array(np.full((84, 7), logits, np.float32), "policy"),
        numpy_helper.from_array(np.full((84, 1), value, np.float32), "one"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    graph = helper.make_graph(nodes, "constant", inputs, outputs, numbers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


@pytest.mark.parametrize(("logits", "value"), [(3e38, 0.0), (0.0, 3e38), (0.0, 0.6)])
def test_an_answer_that_is_none_is_noticed_at_the_board(logits: float, value: float) -> None:
    """At the start, with an empty board, the model's answers are all 0."""
    evaluator = evaluator_of(constant(logits, value), GAME, None)
    start = GAME.initial(1)
    later = GAME.step(GAME.step(start, torch.tensor([3])).state, torch.tensor([3])).state
    assert evaluator(start, torch.Generator()).value.tolist() == [0]
    with pytest.raises(EvaluationError, match="answers with values that are no numbers, or not within"):
        evaluator(later, torch.Generator())


def test_what_the_runtime_cannot_run_is_told_in_one_line() -> None:
    evaluator = OnnxEvaluator(TicTacToe(), constant(0, 0))  # of another game's size
    with pytest.raises(EvaluationError, match="ONNX Runtime cannot evaluate the network: ") as caught:
        evaluator(TicTacToe().initial(1), torch.Generator())
    assert "\n" not in str(caught.value)


# --- Agents


def agent(folder: Path, serialized: bytes, **fields: Any) -> Path:
    """An agent of connect-four with a fitting digest."""
    export_agent(folder, GAME, Config(network=CONFIGS["dense"]), onnx.load_from_string(exported("dense")), iteration=1)
    card = json.loads((folder / "agent.json").read_bytes())
    card |= {"sha256": hashlib.sha256(serialized).hexdigest(), **fields}
    (folder / "agent.json").write_text(json.dumps(card))
    (folder / "agent.onnx").write_bytes(serialized)
    return folder / "agent.onnx"


@pytest.mark.parametrize(("change", "said"), FAULTS[:4])
def test_an_agent_with_a_fitting_digest_is_refused_by_name(change: Change, said: str, tmp_path: Path) -> None:
    model = onnx.load_from_string(exported("dense"))
    change(model)
    path = agent(tmp_path, model.SerializeToString())
    with pytest.raises(RunError, match=f"{path} is no network for agent.json beside it: .*{said}.*; export it again"):
        load_agent(path)


def test_an_agent_that_computes_something_else_than_its_card_says_is_refused(tmp_path: Path) -> None:
    """Its weights are all there, but what uses them is not what the card describes."""
    path = agent(tmp_path, exported("dense"))
    load_agent(path)
    model = onnx.load_from_string(exported("dense"))
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Tanh"
    path = agent(tmp_path, model.SerializeToString())
    with pytest.raises(RunError, match="its answers are not those of the network that its card describes"):
        load_agent(path)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"network": {"blocks": 1_000_000}}, "`blocks`: input should be less than or equal to 1000"),
        ({"network": {"width": 60_000}}, "`width`: input should be less than or equal to 8192"),
        ({"network": {"kind": "dense", "blocks": 1000, "width": 8192}}, "parameters for connect_four"),
        ({"network": []}, "is not an agent's card"),
        ({"search": {"simulations": 1 << 63}}, "`simulations`: input should be less than"),
        ({"format": "1" * 10_000}, "has format '1111"),
        ({"iteration": [1]}, "is not an agent's card"),
        ({"game": 3}, "is not an agent's card"),
        ({"actions": ["1"] * 100_000}, "is of a game with actions"),
    ],
)
def test_a_card_that_asks_for_more_than_there_is_is_refused(fields: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = agent(tmp_path, exported("dense"), **fields)
    tracemalloc.start()
    with pytest.raises(RunError, match=said) as caught:
        load_agent(path)
    assert tracemalloc.get_traced_memory()[1] < 3e8
    tracemalloc.stop()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("content", [b"[" * 100_000, b"", b"\xff", b"NaN", b'{"format": NaN}', b"1" * 5_000])
def test_a_card_that_is_no_json_is_refused(content: bytes, tmp_path: Path) -> None:
    path = agent(tmp_path, exported("dense"))
    (tmp_path / "agent.json").write_bytes(content)
    with pytest.raises(RunError, match=r"agent\.json is not an agent's card"):
        load_agent(path)


def test_a_network_beyond_the_limits_is_refused_before_it_is_made() -> None:
    tracemalloc.start()
    for config in (
        NetworkConfig(blocks=500, width=2048),
        NetworkConfig(kind="dense", blocks=100, width=8192, value_head="scalar"),
    ):
        with pytest.raises(ValueError, match=r"parameters for connect_four; .* are the most"):
            make_network(GAME, config)
    assert tracemalloc.get_traced_memory()[1] < 3e8
    tracemalloc.stop()
