"""Alterations of bytes, text, JSON, arrays, tensors and ONNX models, drawn at random, each told in a few words."""

from __future__ import annotations

import json
import random
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.torch
import torch

NUMBERS = (
    "0", "-1", "1", "2", "nan", "inf", "-inf", "1e400", "1e39", "-1e39", "1e308", "1e-320", "3.5", str(1 << 31),
    str(1 << 63), str((1 << 64) + 1), "9" * 400, "9" * 5000, "0x" + "f" * 5000, "١٢", "0.5", "true", "1_000", "",
)  # fmt: skip
WORDS = (
    *NUMBERS, "[/b]", "[" * 2000, "{" * 2000, "x" * 50_000, "\0", "\x1b[2J", "é", "~nobody/x", "../..", "/dev/zero",
    '"' * 3, "\n", "\r", "=", ",", ";", "auto", "minimax:1000000", "minimax:" + "9" * 5000, "mcts:0", "mcts:9e9s",
    "minimax:1@" + "9" * 400, "://", "file://", "s3://", "x::y://z", "meta", "cuda:99999999999999999999", "[]", "{}",
)  # fmt: skip


def altered_bytes(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """The content with bytes flipped, cut, repeated, moved or put in."""
    data, place = bytearray(content), draw.randrange(max(1, len(content)))
    length = min(draw.choice((1, 2, 4, 8, 64, 4096)), max(1, len(content) - place))
    match draw.choice(("bit", "bit", "byte", "bytes", "cut", "remove", "insert", "repeat", "swap", "append")):
        case "bit":
            data[place : place + 1] = bytes([data[place] ^ (1 << draw.randrange(8))] if data else [1])
            what = "a bit flipped"
        case "byte":
            data[place : place + 1] = bytes([draw.randrange(256)])
            what = "a byte changed"
        case "bytes":
            data[place : place + length] = draw.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
            what = f"{length} bytes written over"
        case "cut":
            del data[place:]
            what = "cut"
        case "remove":
            del data[place : place + length]
            what = f"{length} bytes removed"
        case "insert":
            data[place:place] = draw.randbytes(length)
            what = f"{length} bytes inserted"
        case "repeat":
            data[place:place] = data[place : place + length] * draw.choice((1, 100))
            what = f"{length} bytes repeated"
        case "swap":
            other = draw.randrange(max(1, len(content)))
            data[place : place + length], data[other : other + length] = (
                data[other : other + length],
                data[place : place + length],
            )
            what = f"{length} bytes swapped"
        case _:
            data += draw.randbytes(length)
            what = f"{length} bytes appended"
    return bytes(data), f"{what} at {place}"


def altered_text(text: str, draw: random.Random) -> tuple[str, str]:
    """The text with a word, number or line changed, or with bytes altered."""
    if draw.random() < 0.3:
        data, what = altered_bytes(text.encode(), draw)
        return data.decode(errors="replace" if draw.random() < 0.8 else "surrogateescape"), what
    found = list(re.finditer(r"[\w.+-]+|[^\s\w]", text)) or [None]
    match, word = draw.choice(found), draw.choice(WORDS)
    if match is None or draw.random() < 0.1:
        lines = text.splitlines(keepends=True) or [""]
        draw.shuffle(lines)
        return "".join(lines[: draw.randrange(len(lines) + 1)]), "lines shuffled and left out"
    return text[: match.start()] + word + text[match.end() :], f"{match[0]!r} replaced by {word[:40]!r}"


def altered_json(record: Any, draw: random.Random) -> tuple[Any, str]:
    """The record with one value, at any depth, changed, or a field left out or added."""
    record = json.loads(json.dumps(record))
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], dict | list):
                walk(value[key])

    walk(record)
    holder, key = draw.choice(places)
    value: Any = draw.choice((None, True, -1, 0, 1, 1 << 63, 1e308, 0.5, "", "x" * 10_000, [], {}, [[1]], {"a": 1}))
    way = draw.random()
    if way < 0.15:
        del holder[key]
        return record, f"{key!r} left out"
    if way < 0.25 and isinstance(holder, dict):
        holder[str(draw.choice(WORDS))[:100]] = value
        return record, f"a field added beside {key!r}"
    if way < 0.5 and isinstance(holder[key], int | float):
        value = holder[key] + draw.choice((1, -1, 1 << 31, 0.5))
    holder[key] = value
    return record, f"{key!r} is {str(value)[:40]!r}"


def altered_array(array: np.ndarray, draw: random.Random) -> tuple[np.ndarray, str]:
    """Another type, shape, or a value that is none."""
    kinds = [kind for kind in ("f2", "f4", "f8", "i1", "i8", "u2", "c8", "?", "S3", ">f4") if array.dtype != kind]
    match draw.choice(("type", "shape", "longer", "shorter", "value", "value", "empty", "scalar")):
        case "type":
            kind = draw.choice(kinds)
            with np.errstate(all="ignore"):
                return array.astype(kind), f"as {kind}"
        case "shape":
            return array[None], "one dimension more"
        case "longer":
            return np.concatenate([np.atleast_1d(array)] * 2), "twice as long"
        case "shorter":
            return np.atleast_1d(array)[:-1], "shorter"
        case "empty":
            return np.atleast_1d(array)[:0], "empty"
        case "scalar":
            return np.zeros((), array.dtype), "a scalar"
        case _:
            new = array.copy().reshape(-1)
            value = draw.choice((np.nan, np.inf, -np.inf)) if array.dtype.kind == "f" else draw.choice((-100, 120))
            with np.errstate(all="ignore"):
                new[draw.randrange(len(new)) if len(new) else slice(0)] = np.asarray(value).astype(array.dtype)
            return new.reshape(array.shape), f"{value} in it"


def altered_archive(path: Path, draw: random.Random) -> tuple[str, bool]:
    """Alters a file of arrays: what was done, and whether it can never be right."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    name = draw.choice(sorted(arrays))
    way = draw.choice(("array", "array", "array", "array", "gone", "more", "renamed", "compressed", "header"))
    what, impossible = f"{name}: {way}", True
    if way == "array":
        arrays[name], said = altered_array(arrays[name], draw)
        what = f"{name} {said}"
        # A game's own state may hold any number, and so may moves that were not made yet.
        impossible = arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all() and "state" not in name
    elif way == "gone":
        del arrays[name]
        impossible = False  # older runs lack some
    elif way == "more":
        added = draw.choice(WORDS).replace("/", "")[:50] or "more"
        arrays[added] = arrays[name]
        impossible = not added.isdecimal()  # of policies, such a name is an iteration's
    elif way == "renamed":
        arrays[f"{name}s"] = arrays.pop(name)
    if way == "compressed":
        arrays[name] = np.zeros(1 << 24, arrays[name].dtype)
        np.savez_compressed(path, **arrays)
    else:
        np.savez(path, allow_pickle=False, **arrays)
    if way == "header":
        sizes = (1 << 44, 1 << 31, 10**18, 0)
        with zipfile.ZipFile(path) as old:
            content = {member: old.read(member) for member in old.namelist()}
        shape = b"'shape': (%d,), }" % draw.choice(sizes)
        header = re.sub(rb"'shape': \([^)]*\), }", shape, content[f"{name}.npy"], count=1)
        with zipfile.ZipFile(path, "w") as new:
            for member, data in content.items():
                new.writestr(member, header if member == f"{name}.npy" else data)
    return what, impossible


def altered_model(serialized: bytes, draw: random.Random) -> tuple[bytes, str]:
    """An ONNX model with a field changed somewhere, or with its bytes altered."""
    if draw.random() < 0.4:
        return altered_bytes(serialized, draw)
    model = onnx.load_from_string(serialized)
    graph = model.graph
    node, tensor = draw.choice(graph.node), draw.choice(graph.initializer)
    number = draw.choice((0, -1, 1, 2, 7, 1 << 20, 1 << 40, (1 << 63) - 1))
    ways = ("dims", "type", "operation", "input", "setting", "numbers", "node", "output", "outside", "shape")
    match draw.choice(ways):
        case "dims":
            tensor.dims[:] = [number for _ in range(draw.randrange(4))]
            what = f"{tensor.name} has dimensions {list(tensor.dims)}"
        case "type":
            tensor.data_type = draw.randrange(25)
            what = f"{tensor.name} has type {tensor.data_type}"
        case "operation":
            others = ("Loop", "If", "Expand", "Tile", "Relu", "MatMul", "Conv", "Exp", "x" * 1000, "")
            node.op_type = draw.choice(others)
            what = f"an operation is {node.op_type[:20]!r}"
        case "input":
            node.input[draw.randrange(len(node.input))] = draw.choice((*node.input, tensor.name, "", "nothing"))
            what = f"{node.op_type} has other inputs"
        case "setting":
            attribute = draw.choice(node.attribute) if node.attribute else node.attribute.add(name="axis", type=2)
            attribute.i, attribute.ints[:], attribute.f = number, [number] * len(attribute.ints), draw.choice((0, 1e30))
            what = f"{node.op_type}.{attribute.name} is {number}"
        case "numbers":
            array = np.frombuffer(tensor.raw_data, np.uint8).copy()
            value = np.array([draw.choice((np.nan, np.inf, 3e38, -3e38, 0))], np.float32)
            array[: len(array) // 4 * 4] = np.tile(value.view(np.uint8), len(array) // 4)
            tensor.raw_data = array.tobytes()
            what = f"{tensor.name} is {value[0]}"
        case "node":
            graph.node.remove(node)
            what = f"a {node.op_type} left out"
        case "output":
            output = draw.choice((*graph.output, *graph.input))
            output.type.tensor_type.elem_type = draw.randrange(17)
            what = f"{output.name} has type {output.type.tensor_type.elem_type}"
        case "outside":
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=draw.choice(("/etc/passwd", "../x", "agent.json")))
            what = f"{tensor.name} is in another file"
        case _:
            output = draw.choice((*graph.output, *graph.input))
            draw.choice(output.type.tensor_type.shape.dim).dim_value = number
            what = f"{output.name} has a size of {number}"
    return model.SerializeToString(), what


def altered_tensors(path: Path, draw: random.Random) -> tuple[str, bool]:
    """Alters a safetensors file, or the state of an optimizer; as `altered_archive`."""
    if path.suffix == ".pt":
        state = torch.load(path, weights_only=True)
        moments = state["state"][draw.choice(list(state["state"]))]
        name = draw.choice(list(moments))
        array, what = altered_array(moments[name].numpy(), draw)
        if array.dtype.kind in "Sc" or array.dtype.byteorder == ">":
            array, what = np.full(moments[name].shape, np.nan, np.float32), "nan"
        moments[name] = torch.from_numpy(array.copy())
        torch.save(state, path)
        return f"{name} {what}", not np.isfinite(array).all()
    tensors = safetensors.torch.load_file(path)
    name = draw.choice(sorted(tensors))
    array, what = altered_array(tensors[name].numpy(), draw)
    if array.dtype.kind in "Sc" or array.dtype.byteorder == ">":
        array, what = np.full(tensors[name].shape, np.nan, np.float32), "nan"
    tensors[name] = torch.from_numpy(array.copy())
    safetensors.torch.save_file(tensors, path)
    return f"{name} {what}", not np.isfinite(array).all()
