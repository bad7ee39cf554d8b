"""The choice of an engine: a table of processors, a measurement where it has no row, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from alphazero.config import Config, ConfigError, NetworkConfig
from alphazero.game import Game
from alphazero.network import engines
from alphazero.network.engines import at_hand, best_engine, best_precision, with_engines
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.stubs import Drift

GAME = ConnectFour()
RESIDUAL = NetworkConfig(blocks=1, width=4)
WIDE, NARROW = (NetworkConfig(kind="dense", blocks=2, width=width) for width in (256, 96))
SAPPHIRE_RAPIDS = ("avx2", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
ZEN_4 = ("avx2", "avx512_vnni", "avx512_bf16")
ALDER_LAKE = ("avx2", "avx_vnni")
HASWELL = ("avx2",)
ARM: tuple[str, ...] = ()


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    def pretend(features: tuple[str, ...]) -> None:
        monkeypatch.setattr(engines, "processor", lambda: dict.fromkeys(features, True))

    return pretend


@pytest.mark.parametrize(
    ("features", "engine", "precision"),
    [
        (SAPPHIRE_RAPIDS, "bfloat16", "bfloat16"),  # as before int8 was there, so that it is no slower
        (ZEN_4, "int8", "bfloat16"),
        (ALDER_LAKE, "int8", "float32"),
        (HASWELL, "int8", "float32"),
    ],
)
def test_the_processor_decides(on: Any, features: tuple[str, ...], engine: str, precision: str) -> None:
    on(features)
    assert best_engine(GAME, RESIDUAL) == engine
    assert best_precision(GAME, "cpu") == precision
    config = with_engines(GAME, Config(network=RESIDUAL))
    assert (config.self_play.engine, config.learner.precision) == (engine, precision)


def test_narrow_dense_networks_and_continuous_actions_stay_float32(on: Any) -> None:
    on(ZEN_4)
    assert best_engine(TicTacToe(), NARROW) == "onnx"
    assert best_engine(TicTacToe(), WIDE) == "int8"
    assert best_engine(Drift(), WIDE) == "onnx"
    assert best_precision(Drift(), "cpu") == "float32"


@pytest.mark.parametrize(("gain", "engine"), [(1.1, "onnx"), (2.0, "int8")])
def test_an_unknown_processor_is_measured(on: Any, monkeypatch: pytest.MonkeyPatch, gain: float, engine: str) -> None:
    on(ARM)
    rates = iter((1000.0, 1000.0 * gain))
    monkeypatch.setattr(engines, "rate", lambda work, seconds: (work(), next(rates))[1])
    before = torch.get_rng_state()
    assert best_engine(GAME, RESIDUAL) == engine
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_named_stays() -> None:
    config = Config(network=RESIDUAL)
    named = replace(
        config,
        self_play=replace(config.self_play, engine="onnx"),
        learner=replace(config.learner, precision="float32"),
    )
    assert with_engines(GAME, named) == named


def configured(**fields: Any) -> Config:
    config = Config(network=RESIDUAL)
    play = {name: value for name, value in fields.items() if name in ("engine", "device")}
    learner = {name: value for name, value in fields.items() if name == "precision"}
    return replace(config, self_play=replace(config.self_play, **play), learner=replace(config.learner, **learner))


@pytest.mark.parametrize(
    ("game", "fields", "message"),
    [
        (
            GAME,
            {"engine": "bfloat16"},
            'engine = "bfloat16": .* does not multiply .*; use "auto" or "int8"',
        ),
        (
            GAME,
            {"precision": "bfloat16"},
            'precision = "bfloat16": .* does not .*; use "auto" or "float32"',
        ),
        (GAME, {"engine": "int8", "device": "cuda"}, '"int8" runs on the CPU, not on cuda; use "auto"'),
        (GAME, {"engine": "onnx", "device": "cuda"}, '"onnx" runs on the CPU, not on cuda; use "auto"'),
        (Drift(), {"engine": "int8"}, '"int8" is too coarse for the continuous actions of drift; use "auto"'),
    ],
)
def test_an_engine_that_does_not_fit_is_refused(on: Any, game: Game, fields: dict[str, str], message: str) -> None:
    on(HASWELL)
    with pytest.raises(ConfigError, match=message):
        with_engines(game, configured(**fields))


def test_a_run_from_another_machine_gets_an_engine_of_this_one(on: Any) -> None:
    on(SAPPHIRE_RAPIDS)
    saved = with_engines(GAME, Config(network=RESIDUAL))
    assert at_hand(GAME, saved) == saved
    on(HASWELL)
    resumed = with_engines(GAME, at_hand(GAME, saved))
    assert (resumed.self_play.engine, resumed.learner.precision) == ("int8", "float32")


def test_the_engine_that_a_clusters_gpus_run_stays_open(on: Any) -> None:
    on(HASWELL)
    config = configured(device="cuda")
    assert with_engines(GAME, replace(config, workers=2)).self_play.engine == "auto"
