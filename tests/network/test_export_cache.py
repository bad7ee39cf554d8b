"""A kept graph is as good as a new export, and is not believed where it is not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from alphazero.config import NetworkConfig
from alphazero.network import export_cache
from alphazero.network.architectures import InferenceModule, Prediction, inference_module, make_network, to_onnx
from alphazero.network.export_cache import exported
from games.connect_four import ConnectFour

GAME = ConnectFour()
SHAPE = GAME.observation_shape
Exports = list[tuple[Any, ...]]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "alphazero"


@pytest.fixture
def exports(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Exports:
    """The arguments of each export that was not spared."""
    made: Exports = []

    def counted(*arguments: Any) -> Any:
        made.append(arguments)
        return to_onnx(*arguments)

    monkeypatch.setattr(export_cache, "to_onnx", counted)
    return made


def module(seed: int, **settings: Any) -> InferenceModule:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return inference_module(make_network(GAME, NetworkConfig(**{"blocks": 1, "width": 8} | settings)))


@pytest.mark.parametrize("kind", ["residual", "dense"])
def test_the_second_export_is_spared_and_gives_the_same_bytes(kind: str, cache: Path, exports: Exports) -> None:
    first, second = module(1, kind=kind), module(2, kind=kind)
    exported(first, SHAPE)
    (place,) = cache.iterdir()
    assert place.stat().st_mode & 0o777 == 0o600
    assert cache.stat().st_mode & 0o777 == 0o700
    assert exported(second, SHAPE).SerializeToString() == to_onnx(second, SHAPE).SerializeToString()
    assert len(exports) == 1


def test_weights_are_not_kept(cache: Path, exports: Exports) -> None:
    wide = module(1, width=64)
    exported(wide, SHAPE)
    (place,) = cache.iterdir()
    assert place.stat().st_size < sum(parameter.nbytes for parameter in wide.parameters()) / 10


def test_another_network_is_exported_for_itself(cache: Path, exports: Exports) -> None:
    for settings in ({}, {"width": 16}, {"value_head": "scalar"}, {"kind": "dense"}):
        exported(module(1, **settings), SHAPE)
    assert len(exports) == len(list(cache.iterdir())) == 4


@pytest.mark.parametrize("content", [b"", b"no graph", bytes(1 << 20)])
def test_what_is_no_graph_is_replaced(content: bytes, cache: Path, exports: Exports) -> None:
    exported(module(1), SHAPE)
    (place,) = cache.iterdir()
    place.write_bytes(content)
    for _ in range(2):
        assert exported(module(1), SHAPE) == to_onnx(module(1), SHAPE)
    assert len(exports) == 2


class Changed(torch.nn.Module):
    """Looks and weighs the same whatever it computes, as a network whose author has altered its `forward`."""

    def __init__(self, sign: int) -> None:
        super().__init__()
        self.flat, self.layer = torch.nn.Flatten(), torch.nn.Linear(math.prod(SHAPE), 8)
        self.__dict__["sign"] = sign

    def forward(self, observation: Tensor) -> Prediction:
        found = self.sign * self.layer(self.flat(observation))
        return Prediction(found[:, :7], found[:, 7:])


def test_a_graph_that_computes_something_else_is_not_believed(cache: Path, exports: Exports) -> None:
    before, after = (InferenceModule(Changed(sign)).requires_grad_(False) for sign in (1, -1))
    exported(before, SHAPE)
    assert exported(after, SHAPE) == to_onnx(after, SHAPE)
    assert (len(exports), len(list(cache.iterdir()))) == (2, 1)
    exported(after, SHAPE)
    assert len(exports) == 2


def test_without_a_place_for_it_there_is_an_export_each_time(
    tmp_path: Path, exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        assert exported(module(1), SHAPE) == to_onnx(module(1), SHAPE)
    assert len(exports) == 2
