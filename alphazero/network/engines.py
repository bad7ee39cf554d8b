"""The engine that runs a network: chosen by what the processor has, or, where that says nothing, by a measurement.

| processor                                    | self-play         | learning |
| -------------------------------------------- | ----------------- | -------- |
| CUDA GPU that multiplies bfloat16            | bfloat16 in torch | bfloat16 |
| other CUDA GPUs                              | float32 in torch  | float32  |
| x86 with Intel AMX                           | bfloat16 in torch | bfloat16 |
| x86 with AVX-512 BF16 (AMD Zen 4 and newer)  | int8              | bfloat16 |
| x86 with AVX2                                | int8              | float32  |
| others (Arm)                                 | the faster of two | float32  |

Games with continuous actions are played and learned in float32 everywhere: an action needs more digits. Networks of
the user's own play in float32 on CPUs: int8 is written for the layers of the others, and which of their layers would
gain from bfloat16 is not known.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal

import torch

from alphazero.config import Config, ConfigError, NetworkConfig
from alphazero.game import Game, random_actions
from alphazero.mcts.policy import policy_of
from alphazero.network.architectures import inference_module, make_network
from alphazero.network.inference import NetworkEvaluators

Engine = Literal["onnx", "torch", "bfloat16", "int8"]
Precision = Literal["float32", "bfloat16"]

LEAST_WIDTH = 256  # of a dense network in int8: one of 96 units gains a seventh from it, one of 256 is twice as fast


@cache
def processor() -> dict[str, Any]:
    """What the CPU can do, by torch's names, such as avx2, avx512_bf16 and amx_bf16."""
    return dict(torch.cpu.get_capabilities())


def has_amx(device: str = "cpu") -> bool:
    return torch.device(device).type == "cpu" and bool(processor().get("amx_bf16"))


def multiplies_bfloat16(device: str) -> bool:
    """Whether the device multiplies bfloat16 in hardware, so that learning in it is faster than in float32."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(processor().get(name) for name in ("amx_bf16", "avx512_bf16"))


def best_precision(game: Game, device: str) -> Precision:
    """The fastest number format to learn in."""
    return "bfloat16" if policy_of(game).bfloat16_suffices and multiplies_bfloat16(device) else "float32"


def best_engine(game: Game, network: NetworkConfig, device: str = "cpu") -> Engine:
    """The fastest engine for self-play."""
    enough = policy_of(game).bfloat16_suffices
    if torch.device(device).type == "cuda":
        return "bfloat16" if enough and multiplies_bfloat16(device) else "torch"
    if network.own:
        return "onnx"
    if enough and has_amx():
        return "bfloat16"
    if not enough or (network.kind == "dense" and network.width < LEAST_WIDTH):
        return "onnx"
    if processor().get("avx2"):
        return "int8"
    return faster_engine(game, network)


def faster_engine(game: Game, network: NetworkConfig, *, seconds: float = 0.3) -> Engine:
    """The faster of float32 and int8 in ONNX Runtime, as measured now; float32 unless int8 gains a fifth."""
    with torch.random.fork_rng():
        module = inference_module(make_network(game, network))
    generator = torch.Generator().manual_seed(0)
    states = game.initial(128, generator=generator)
    for _ in range(4):
        states = game.step(states, random_actions(game, states, generator)).state
    rates = {}
    for engine in ("onnx", "int8"):
        evaluator = NetworkEvaluators(game, engine=engine)(module, states)
        rates[engine] = rate(partial(evaluator, states, generator), seconds)
    return "int8" if rates["int8"] > 1.2 * rates["onnx"] else "onnx"


def rate(work: Callable[[], object], seconds: float) -> float:
    """How often a second of CPU time the work gets done, once it is warm."""
    work()
    count, started = 0, time.thread_time()
    while count == 0 or time.thread_time() - started < seconds:
        work()
        count += 1
    return count / (time.thread_time() - started)


def with_engines(game: Game, config: Config) -> Config:
    """The configuration with the engine and the precision that `auto` stands for on this machine.

    What another machine will run (self-play on a cluster's GPUs) stays open. ConfigError if the configuration names
    an engine that is not for its game or device, or that this machine lacks.
    """
    play, learner = config.self_play, config.learner
    if fault := unfit(game, config):
        raise ConfigError(fault)
    here = not (config.distributed and torch.device(play.device).type == "cuda")
    if play.engine == "auto" and here:
        play = replace(play, engine=best_engine(game, config.network, play.device))
    if learner.precision == "auto" and not config.learner_gpus:
        learner = replace(learner, precision=best_precision(game, learner.device))
    return replace(config, self_play=play, learner=learner)


def unfit(game: Game, config: Config) -> str:
    """Why the configuration's engine or precision cannot be used; empty if they can."""
    engine, device = config.self_play.engine, config.self_play.device
    on_cpu = torch.device(device).type == "cpu"
    if engine in ("onnx", "int8") and not on_cpu:
        return f'self_play.engine = "{engine}" runs on the CPU, not on {device}; use "auto", "torch" or "bfloat16"'
    if engine == "int8" and not policy_of(game).bfloat16_suffices:
        return f'self_play.engine = "int8" is too coarse for the continuous actions of {game.name}; use "auto"'
    if engine == "int8" and config.network.own:
        fix = f'not for those of {config.network.kind}; use "auto"'
        return f'self_play.engine = "int8" is written for the layers of the included networks, {fix}'
    lacking = "this processor does not multiply bfloat16 in hardware"
    if engine == "bfloat16" and on_cpu and not multiplies_bfloat16("cpu"):
        return f'self_play.engine = "bfloat16": {lacking}; use "auto" or "int8"'
    if config.learner.precision == "bfloat16" and config.learner.device == "cpu" and not multiplies_bfloat16("cpu"):
        return f'learner.precision = "bfloat16": {lacking}; use "auto" or "float32"'
    return ""


def at_hand(game: Game, saved: Config) -> Config:
    """A saved configuration with `auto` in place of an engine or a precision that this machine lacks."""
    for section, field in (("self_play", "engine"), ("learner", "precision")):
        if unfit(game, saved):
            saved = replace(saved, **{section: replace(getattr(saved, section), **{field: "auto"})})
    return saved
