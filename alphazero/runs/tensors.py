"""Tensors in files, checked before they are believed: names, types, shapes, and that all are numbers.

Those of a checkpoint's networks are in a safetensors file, those of the optimizer in torch's own format. Of that, which
is a pickle within an archive, only what an optimizer needs is let through to torch's reader of tensors.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor
from torch.optim import Optimizer

from alphazero.game.messages import foreign_errors, printable

# All that an optimizer's pickle names; there is no other way to name anything in it.
NAMED = {"collections OrderedDict", "torch FloatStorage", "torch._utils _rebuild_tensor_v2"}
NOT_BELOW_0 = ("running_var", "num_batches_tracked", "n_averaged", "exp_avg_sq", "step")  # ends of names


def read_tensors(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that are `expected`; the file may hold others. ValueError if one is of another type or shape."""
    tensors = {}
    what = f"{path.name} is no file of tensors, or is damaged"
    with foreign_errors(what):
        file = safetensors.safe_open(path, "pt")
    with file:
        with foreign_errors(what):
            names = set(file.keys())
        for name, like in expected.items():
            if name not in names:
                raise ValueError(f"{path.name} lacks {name}")
            with foreign_errors(what):
                shape = file.get_slice(name).get_shape()
            if shape != list(like.shape):
                raise ValueError(f"size mismatch for {name} in {path.name}: {printable(shape)}, not {list(like.shape)}")
            with foreign_errors(what):
                tensors[name] = file.get_tensor(name)
            check_tensor(tensors[name], like, name, path)
    return tensors


def check_tensor(tensor: Tensor, like: Tensor, name: str, path: Path) -> None:
    """ValueError unless it has the type and shape of `like`, and holds numbers that something of that name can be."""
    if tensor.dtype != like.dtype or tensor.shape != like.shape:
        form = f"{tensor.dtype} {printable(list(tensor.shape))}"
        raise ValueError(f"{name} in {path.name} is {form}, not {like.dtype} {list(like.shape)}")
    if not tensor.isfinite().all() or (name.endswith(NOT_BELOW_0) and (tensor < 0).any()):
        raise ValueError(f"{name} in {path.name} has values that are no numbers, or below 0 where they cannot be")


def read_optimizer(path: Path, optimizer: Optimizer) -> dict[str, Any]:
    """The state of an optimizer such as this one. ValueError if the file holds anything else."""
    with foreign_errors(f"{path.name} holds other things than tensors, or is damaged, and was not made here"):
        check_archive(path)
        # Mapped, so that no tensor reaches beyond the file, whatever size it is said to have.
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    own = optimizer.state_dict()["param_groups"]
    if type(found) is not dict or found.keys() != {"state", "param_groups"} or type(found["state"]) is not dict:
        raise ValueError(f"{path.name} holds no optimizer's state")
    groups = found["param_groups"]
    if type(groups) is not list or [type(group) for group in groups] != [dict] * len(own):
        raise ValueError(f"{path.name} holds no optimizer's state")
    if any(theirs.get("params") != mine["params"] for theirs, mine in zip(groups, own, strict=True)):
        raise ValueError(f"{path.name} is of another network")
    moments = {"momentum_buffer"} if "momentum" in own[0] else {"step", "exp_avg", "exp_avg_sq"}
    state: dict[int, dict[str, Tensor | None]] = {}
    for number, kept in found["state"].items():
        if type(number) is not int or not 0 <= number < len(parameters) or type(kept) is not dict:
            raise ValueError(f"{path.name} is of another network")
        if kept.keys() != moments:
            raise ValueError(f'it was not made with learner.optimizer = "{type(optimizer).__name__.lower()}"')
        state[number] = {}
        for name, tensor in kept.items():
            if tensor is None and name == "momentum_buffer":
                state[number][name] = None
                continue
            like = torch.zeros(()) if name == "step" else parameters[number].detach()
            if not isinstance(tensor, Tensor):
                raise ValueError(f"{path.name} holds no optimizer's state")
            check_tensor(tensor, like, name, path)
            state[number][name] = tensor.clone(memory_format=torch.preserve_format)
    # Of its settings only their names count, by which `Learner.load` knows the optimizer.
    settings = [{name: mine.get(name) for name in theirs} for theirs, mine in zip(groups, own, strict=True)]
    return {"state": state, "param_groups": settings}


def check_archive(path: Path) -> None:
    """An exception of any kind unless the file is as `torch.save` writes an optimizer's state.

    Its records are stored as they are, so that they take no more memory than the file, and its pickle names nothing
    but NAMED: torch's reader, which runs no code, would still make tensors and arrays of bytes of any size.
    """
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise ValueError("it is compressed")
        if sum(record.file_size for record in records) > path.stat().st_size:
            raise ValueError("it promises more than it holds")
        (pickled,) = (record for record in records if record.filename.endswith("/data.pkl"))
        for operation, argument, _ in pickletools.genops(archive.read(pickled)):
            named = operation.name == "GLOBAL" and argument in NAMED
            if not named and any(word in operation.name for word in ("GLOBAL", "INST", "EXT", "BYTEARRAY")):
                raise ValueError(f"it names {printable(argument)}")
