"""Holds a network of the user's own to every promise that the engine relies on, before it trains.

    network.kind = "my_package.nets:MyNet": value must be [batch, 3], not [batch, 1]

All is asked once, about positions that random moves lead to. docs/your_own_network.md lists the promises.
"""

from __future__ import annotations

import copy
import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from alphazero.config import Config
from alphazero.game import Game, random_actions
from alphazero.game.messages import LONGEST_REASON, shortened
from alphazero.mcts.policy import policy_of
from alphazero.network.architectures import (
    AUXILIARY,
    InferenceModule,
    OwnNetwork,
    Prediction,
    inference_module,
    make_network,
    with_weights,
)
from alphazero.network.export_cache import exported
from alphazero.network.exported import read_model
from alphazero.network.inference import OnnxEvaluator, TorchEvaluator


class Tolerance(NamedTuple):
    """How far numbers may lie apart, as in `torch.allclose`."""

    rtol: float = 0.0
    atol: float = 0.0


POSITIONS = 8  # that are asked about
MOVES = 3  # at random, that lead to them
CLOSE = Tolerance(1e-3, 1e-4)  # float32 in another order of sums
STEP = 0.01  # of all weights: to other ones, as learning does
WITHOUT = "matches, self-play on CPUs and agent.onnx need that; in Python, `Learner` trains it all the same"


def check_own_network(game: Game, config: Config) -> None:
    """ValueError, naming the promise, if `network.kind` is a class that breaks one. It changes no random numbers."""
    with torch.random.fork_rng():
        made = []
        for _ in range(2):
            torch.manual_seed(config.seed)
            network = make_network(game, config.network)
            assert isinstance(network, OwnNetwork)
            made.append(network)
        network = made[0]
        try:
            _check_weights(*made)
            _check_answers(game, config, network)
            _check_learning(game, config, network)
            _check_ranks(game, config, network)
            _check_export(game, config, network)
        except BrokenPromise as broken:
            raise ValueError(f'network.kind = "{config.network.kind}": {broken}') from broken.__cause__


class BrokenPromise(Exception):
    """A promise that a network breaks, in its author's terms."""


@contextmanager
def _own_code(promise: str) -> Iterator[None]:
    """A context of the author's code: whatever it raises becomes this promise, with the reason that came first."""
    try:
        yield
    except BrokenPromise:
        raise
    except Exception as error:
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        words = re.sub(r"\x1b\[\d*m", "", " ".join(str(first).split()))
        reason = shortened(f"{type(first).__name__}: {words}", LONGEST_REASON)
        raise BrokenPromise(f"{promise} ({reason})") from error


def observations(game: Game) -> Tensor:
    """Observations [POSITIONS, *observation_shape] of positions that random moves lead to."""
    generator = torch.Generator().manual_seed(0)
    states = game.initial(POSITIONS, generator=generator)
    for _ in range(MOVES):
        states = game.step(states, random_actions(game, states, generator)).state
    return game.observe(states)


def _check_weights(network: OwnNetwork, again: OwnNetwork) -> None:
    """They are float32, can be saved, and are drawn by torch's own generator."""
    for name, parameter in network.module.named_parameters():
        if parameter.dtype != torch.float32:
            others = "learner.precision and self_play.engine choose others"
            raise BrokenPromise(f"parameter {name} must be float32, not {_dtype(parameter)}: {others}")
    with _own_code("its state_dict must hold tensors alone, and none of them twice (tied weights), for checkpoints"):
        state = network.module.state_dict()
        safetensors.torch.save({name: tensor.contiguous() for name, tensor in state.items()})
    other = again.module.state_dict()
    if differing := [name for name, tensor in state.items() if not torch.equal(tensor, other[name])]:
        told = f"{differing[0]} differs from one making to the next with the same torch.manual_seed"
        raise BrokenPromise(f"its first weights must be drawn by torch's own generator, but {told}")


def _check_answers(game: Game, config: Config, network: OwnNetwork) -> None:
    """Its answers in eval mode are of the right form, and depend on nothing but the row that is asked about."""
    observation, kept = observations(game), observations(game)
    with _own_code("it must be one that copy.deepcopy can copy"):
        module = copy.deepcopy(network).eval()
    whole = ask(game, config, module, observation)
    if not torch.equal(observation, kept):
        raise BrokenPromise("forward must not change its observation in place")
    if not _same(whole, ask(game, config, module, observation), Tolerance()):
        raise BrokenPromise("in eval mode it must answer the same each time; chance such as dropout is for train mode")
    for rows in (slice(1), slice(2, 5)):
        alone = ask(game, config, module, observation[rows])
        if not _same(alone, Prediction(*(part[rows] for part in _parts(whole))), CLOSE):
            told = "but its answers depend on the other rows of the batch"
            raise BrokenPromise(f"in eval mode it must answer each row by itself, {told}")


def ask(game: Game, config: Config, network: OwnNetwork, observation: Tensor) -> Prediction:
    """The network's answer about the observations. BrokenPromise if it is of another form than the engine needs."""
    batch, head = len(observation), config.network.value_head
    logits, value = [batch, policy_of(game).outputs], [batch, 3 if head == "wdl" else 1]
    right = {"logits": logits, "value": value, "end": [batch, 2, *game.observation_shape]}
    right["soft_policy"] = logits
    with _own_code(f"forward must take observations {_words(observation)}, float32"):
        answer: Any = network.module(observation)
    if not isinstance(answer, tuple) or len(answer) not in (2, 3, 4):
        said = f"a tuple of {len(answer)}" if isinstance(answer, tuple) else f"a {type(answer).__name__}"
        raise BrokenPromise(f"forward must return a tuple (logits, value) or a Prediction, not {said}")
    for (name, shape), part in zip(right.items(), answer, strict=False):
        if name in AUXILIARY and part is None:
            continue
        if not isinstance(part, Tensor):
            raise BrokenPromise(f"{name} must be a tensor, not a {type(part).__name__}")
        if list(part.shape) != shape:
            of = f' for network.value_head = "{head}"' if name == "value" else ""
            raise BrokenPromise(f"{name} must be {_words(torch.empty(shape))}{of}, not {_words(part, batch)}")
        if not part.is_floating_point():
            raise BrokenPromise(f"{name} must be of real numbers, not {_dtype(part)}")
        if not bool((finite := part.isfinite()).all()):
            raise BrokenPromise(f"{name} must be finite, but fresh weights answer {part.detach()[~finite][0]:g}")
    prediction = Prediction(*answer)
    for name, weight in AUXILIARY.items():
        if getattr(config.network, weight) and getattr(prediction, name) is None:
            form, fix = _words(torch.empty(right[name]), batch), "set it to 0 for a network without that head"
            raise BrokenPromise(f"network.{weight} needs a Prediction with `{name}`, {form}; {fix}")
    return prediction


def _check_learning(game: Game, config: Config, network: OwnNetwork) -> None:
    """Gradients reach all that can be learned. The network is another one then, as after a step."""
    network.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=config.learner.precision == "bfloat16"):
        prediction = ask(game, config, network, observations(game))
    generator = torch.Generator().manual_seed(0)
    learned = {name: one for name, one in network.module.named_parameters() if one.requires_grad}
    if not learned:
        raise BrokenPromise("it has no parameters that require a gradient, so there is nothing to learn")
    with _own_code("its answers must have a gradient"):
        products = [part.float() * torch.randn(part.shape, generator=generator) for part in _parts(prediction)]
        torch.stack([product.sum() for product in products]).sum().backward()
    for name, parameter in learned.items():
        if parameter.grad is None:
            fix = "take it out, or set its requires_grad to False if it shall stay as it is"
            raise BrokenPromise(f"no gradient reaches {name}; {fix}")
        if not bool(parameter.grad.isfinite().all()):
            raise BrokenPromise(f"the gradient of {name} is not finite")
    _move(network, generator)
    network.zero_grad()


def _move(network: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(STEP * torch.randn(parameter.shape, generator=generator))


def _check_ranks(game: Game, config: Config, network: OwnNetwork) -> None:
    """Data-parallel ranks can share what it does in train mode."""
    if max(config.learner_gpus, config.cluster.learner_ranks) < 2:
        return
    for name, part in network.module.named_modules():
        usual = type(part) is nn.BatchNorm2d and part.affine and part.track_running_stats and part.momentum is not None
        if isinstance(part, _BatchNorm) and not usual:
            fix = "ranks share the statistics of a usual nn.BatchNorm2d alone: take one rank, or another norm"
            raise BrokenPromise(f"{name} is a {type(part).__name__}; {fix}")
    network.train()
    one, other = (ask(game, config, network, observations(game)) for _ in range(2))
    for name, weight in AUXILIARY.items():
        if getattr(one, name) is not None and not getattr(config.network, weight):
            need, fix = "ranks need a gradient for all parameters", "give it a weight, or return none"
            raise BrokenPromise(f"{need}, and network.{weight} = 0 has none for `{name}`: {fix}")
    if not _same(one, other, CLOSE):
        raise BrokenPromise("it draws random numbers in train mode (dropout?), which ranks do not share: take one rank")


def _check_export(game: Game, config: Config, network: OwnNetwork) -> None:
    """It can be exported to ONNX, be read back, take up other weights, and be run by the engine of self-play."""
    before, module = inference_module(network), inference_module(network)
    _move(before, torch.Generator().manual_seed(1))
    with _own_code(f"it cannot be exported to ONNX; {WITHOUT}"), _without_a_word():
        graph = exported(before, game.observation_shape)
    if graph.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value"):
        fix = "take it from observation.shape[0], or leave it to -1; len(observation) is a number for good"
        raise BrokenPromise(f"its export is for one number of rows alone; {fix}")
    with _own_code(f"its export to ONNX could not be read back; {WITHOUT}"):
        model = with_weights(graph, module)
        read_model(model.SerializeToString(), game)
        said = OnnxEvaluator(game, model).predictions(observations(game))
    expected = Prediction(*module(observations(game)))
    if not _same(Prediction(said.logits, said.value), expected, CLOSE):
        raise BrokenPromise(f"its export to ONNX answers otherwise than it does itself; {WITHOUT}")
    _check_engine(game, config, module)
    if config.search.refine_steps:
        observation = observations(game).requires_grad_()
        with _own_code("search.refine_steps needs values that can be differentiated by the observation"):
            torch.autograd.grad(module(observation)[1].sum(), observation)


def _check_engine(game: Game, config: Config, module: InferenceModule) -> None:
    """It runs in the number format and on the device of self-play, as far as that device is here."""
    engine, device = config.self_play.engine, config.self_play.device
    on_cpu = torch.device(device).type == "cpu"
    if engine not in ("torch", "bfloat16") or (config.distributed and not on_cpu):
        return
    promise = "tensors that forward makes must have the dtype and the device of its observation"
    fix = '; or set self_play.engine = "onnx"' if on_cpu else ""
    with _own_code(f'self_play.engine = "{engine}" on {device}: {promise}{fix}'):
        dtype = torch.bfloat16 if engine == "bfloat16" else torch.float32
        evaluator = TorchEvaluator(game, copy.deepcopy(module), device=device, dtype=dtype)
        answer = evaluator.predictions(observations(game).to(device))
    if not bool(answer.value.isfinite().all() & answer.logits.isfinite().all()):
        raise BrokenPromise(f'self_play.engine = "{engine}": its answers are not finite there{fix}')


@contextmanager
def _without_a_word() -> Iterator[None]:
    """A context in which nothing is printed: where an export fails, torch writes pages."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _parts(prediction: Prediction) -> list[Tensor]:
    return [part for part in prediction if part is not None]


def _same(one: Prediction, other: Prediction, tolerance: Tolerance) -> bool:
    pairs = zip(_parts(one), _parts(other), strict=True)
    return all(torch.allclose(a, b, *tolerance) for a, b in pairs)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _words(tensor: Tensor, batch: int | None = None) -> str:
    """The tensor's shape, in which the batch's side is called so. batch: its size, where it may be another one."""
    sides = [str(side) for side in tensor.shape]
    if sides and batch in (None, tensor.shape[0]):
        sides[0] = "batch"
    return f"[{', '.join(sides)}]"
