"""Networks: from observations to a policy and a value.

Training uses `Network`; inference uses its `inference_module`, with batch normalisation folded
into the convolutions, in torch or exported to ONNX. A network may be a class of the user's own, `OwnNetwork`, of which
nothing is known but what it answers.
"""

from __future__ import annotations

import copy
import itertools
import logging
import math
import warnings
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from alphazero.config import NetworkConfig
from alphazero.game import Game
from alphazero.mcts.policy import policy_of
from alphazero.network.loading import make_module

ONNX_OPSET = 20
MOST_PARAMETERS = 1 << 28  # of a network: 1 GiB; AlphaGo Zero's larger one has 47 million
MOST_ACTIVATIONS = 1 << 20  # numbers of a layer's output, for one position
AUXILIARY = {"end": "end_weight", "soft_policy": "soft_policy_weight"}
"""The heads that help to learn and are left out in play: where in `Prediction`, and their weight in `NetworkConfig`."""


class Prediction(NamedTuple):
    """The network's output for B observations.

    logits: [B, A], before masking; in a Box game [B, 2 D], see `mcts.gaussian.Gaussian`.
    value:  [B, 3] logits of win, draw and loss for the player to move, or [B, 1] before tanh.
    end:    [B, 2, *observation_shape], what is observed in the game's last position if it is the same player's turn as
            now there, and what if it is another's; None without a head for it.
    soft_policy: [B, A] logits of the policy at a higher temperature (`learner.softened`), before masking; or None.
    """

    logits: Tensor
    value: Tensor
    end: Tensor | None = None
    soft_policy: Tensor | None = None


class Block(nn.Module):
    """relu(x + conv(relu(conv(x)))), He et al. 2016."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu_(self.norm1(self.conv1(x)))
        return torch.relu_(x + self.norm2(self.conv2(y)))


class ResidualNetwork(nn.Module):
    """A stem, residual blocks and two heads. Silver et al. 2017, Methods, "Network architecture".

    position: a bias for each channel of each cell. Convolutions treat all cells alike, and tell them apart by their
              distance from the border alone, block by block.
    """

    def __init__(self, observation_shape: tuple[int, ...], actions: int, outcomes: int, config: NetworkConfig) -> None:
        super().__init__()
        planes, height, width = observation_shape
        cells = height * width
        self.stem = nn.Conv2d(planes, config.width, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(config.width)
        self.position = nn.Parameter(torch.zeros(config.width, height, width)) if config.position_bias else None
        self.blocks = nn.ModuleList(Block(config.width) for _ in range(config.blocks))
        self.policy_conv = nn.Conv2d(config.width, config.head_channels, 1, bias=False)
        self.policy_norm = nn.BatchNorm2d(config.head_channels)
        self.policy = nn.Linear(config.head_channels * cells, actions)
        self.value_conv = nn.Conv2d(config.width, config.head_channels, 1, bias=False)
        self.value_norm = nn.BatchNorm2d(config.head_channels)
        self.value_hidden = nn.Linear(config.head_channels * cells, config.value_width)
        self.value = nn.Linear(config.value_width, outcomes)
        self.end = nn.Conv2d(config.width, 2 * planes, 1) if config.end_weight else None
        self.soft_policy = nn.Linear(config.head_channels * cells, actions) if config.soft_policy_weight else None

    def forward(self, observation: Tensor) -> Prediction:
        x = self.placed(self.stem_norm(self.stem(observation)))
        for block in self.blocks:
            x = block(x)
        policy = torch.relu_(self.policy_norm(self.policy_conv(x))).flatten(1)
        value = torch.relu_(self.value_norm(self.value_conv(x))).flatten(1)
        end = None if self.end is None else self.end(x).unflatten(1, (2, -1))
        soft = None if self.soft_policy is None else self.soft_policy(policy)
        return Prediction(self.policy(policy), self.value(torch.relu_(self.value_hidden(value))), end, soft)

    def placed(self, x: Tensor) -> Tensor:
        """relu(x), after each cell's own bias if there is one."""
        return torch.relu_(x if self.position is None else x + self.position)


class DenseNetwork(nn.Module):
    """Fully connected layers over the flattened observation, and two heads."""

    def __init__(self, observation_shape: tuple[int, ...], actions: int, outcomes: int, config: NetworkConfig) -> None:
        super().__init__()
        inputs = torch.Size(observation_shape).numel()
        sizes = [inputs] + [config.width] * config.blocks
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.policy = nn.Linear(config.width, actions)
        self.value = nn.Linear(config.width, outcomes)
        self.end = nn.Linear(config.width, 2 * inputs) if config.end_weight else None
        self.soft_policy = nn.Linear(config.width, actions) if config.soft_policy_weight else None

    def forward(self, observation: Tensor) -> Prediction:
        x = observation.flatten(1)
        for layer in self.layers:
            x = F.relu(layer(x))
        end = None if self.end is None else self.end(x).unflatten(1, (2, *observation.shape[1:]))
        soft = None if self.soft_policy is None else self.soft_policy(x)
        return Prediction(self.policy(x), self.value(x), end, soft)


class OwnNetwork(nn.Module):
    """A module of the user's own (`network.loading`), whose answers become a `Prediction`; see `network.conformance`.

    unused: the AUXILIARY heads that are not learned, if it has them.
    """

    def __init__(self, module: nn.Module, *, unused: Iterable[str]) -> None:
        super().__init__()
        self.module, self.unused = module, tuple(unused)

    def forward(self, observation: Tensor) -> Prediction:
        left_out: dict[str, Any] = dict.fromkeys(self.unused)
        return Prediction(*self.module(observation))._replace(**left_out)

    @property
    def policy_bias(self) -> Tensor | None:
        """The bias of the module's layer `policy`, if there is one."""
        bias = getattr(getattr(self.module, "policy", None), "bias", None)
        return bias if isinstance(bias, Tensor) else None


Network = ResidualNetwork | DenseNetwork | OwnNetwork


def make_network(game: Game, config: NetworkConfig) -> Network:
    """A network with fresh weights, drawn from torch's global generator. ValueError if the two do not fit."""
    check_network(game, config)
    network, policy = _network(game, config), policy_of(game)
    bias = network.policy_bias if isinstance(network, OwnNetwork) else network.policy.bias
    if bias is not None and bias.shape == (policy.outputs,):
        with torch.no_grad():
            policy.initialise(bias, config.deviation)
    elif not game.discrete:
        raise ValueError(
            f"{game.name} has continuous actions, whose first deviation is network.deviation: {config.kind} must have "
            f"an attribute `policy`, its last layer for the policy, with a bias of {policy.outputs} numbers"
        )
    return network


def check_network(game: Game, config: NetworkConfig) -> None:
    """ValueError if game and network do not fit, or it would be larger than any here; keeps nothing that it makes."""
    if config.value_head == "wdl" and game.num_players != 2:
        raise ValueError(f'network.value_head = "wdl" needs a game for two, and {game.name} is for one; use "scalar"')
    if config.kind == "residual" and len(game.observation_shape) != 3:
        raise ValueError(
            f'network.kind = "residual" needs observations [planes, height, width], and those of {game.name} are '
            f'{list(game.observation_shape)}; use "dense"'
        )
    if config.options and not config.own:
        told = "blocks, width and the other fields of [network] instead"
        raise ValueError(f'network.options are for a class of your own; network.kind = "{config.kind}" has {told}')
    size = sum(parameter.numel() for parameter in _sized(game, config).parameters())
    if config.own:
        if size > MOST_PARAMETERS:
            raise ValueError(f"{config.kind} has {size:,} parameters for {game.name}; {MOST_PARAMETERS:,} are the most")
        return
    cells = math.prod(game.observation_shape[1:]) if config.kind == "residual" else 1
    if size > MOST_PARAMETERS or max(config.width, config.head_channels) * cells > MOST_ACTIVATIONS:
        raise ValueError(
            f"network.blocks = {config.blocks} and network.width = {config.width} make {size:,} parameters for "
            f"{game.name}; {MOST_PARAMETERS:,}, and {MOST_ACTIVATIONS:,} numbers a layer, are the most"
        )


def _sized(game: Game, config: NetworkConfig) -> Network:
    """A network whose parameters have their sizes, and take no memory if that can be."""
    try:
        with torch.device("meta"):
            return _network(game, config)
    except Exception:
        if not config.own:
            raise
    with torch.random.fork_rng():  # its constructor looks at its numbers, or fails
        return _network(game, config)


def _network(game: Game, config: NetworkConfig) -> Network:
    shape, outputs, outcomes = game.observation_shape, policy_of(game).outputs, 3 if config.value_head == "wdl" else 1
    if config.own:
        module = make_module(config.kind, config.options, shape, outputs, outcomes)
        return OwnNetwork(module, unused=(head for head, weight in AUXILIARY.items() if not getattr(config, weight)))
    kind = DenseNetwork if config.kind == "dense" else ResidualNetwork
    return kind(shape, outputs, outcomes, config)


def scalar_value(value: Tensor) -> Tensor:
    """[B] in [-1, 1]: P(win) - P(loss), or tanh, of a `Prediction`'s value."""
    if value.shape[-1] == 1:
        return value[:, 0].tanh()
    win, _, loss = value.softmax(-1).unbind(-1)
    return win - loss


class InferenceModule(nn.Module):
    """A network as it is used in play: observation -> (logits [B, A], value [B])."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        prediction = self.network(observation)
        return prediction.logits, scalar_value(prediction.value)


def lay_out(module: nn.Module, observation_shape: tuple[int, ...]) -> torch.memory_format:
    """Puts the module's convolution weights into the layout that its observations must have, and returns that.

    Channels last for convolutions, which are faster so on CPUs and GPUs. A network of the user's own may look at its
    observations in ways that need them in order, and stays as it is.
    """
    if any(isinstance(part, OwnNetwork) for part in module.modules()):
        return torch.contiguous_format
    layout = torch.channels_last if len(observation_shape) == 3 else torch.contiguous_format
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return layout


def inference_module(network: nn.Module) -> InferenceModule:
    """A copy for inference, in eval mode, without what only learning needs, and with batch normalisation folded.

    Of a network of the user's own nobody knows which layers belong together, and nothing is folded.
    """
    network = copy.deepcopy(network).eval()
    if isinstance(network, OwnNetwork):
        network.unused = tuple(AUXILIARY)
        return InferenceModule(network).requires_grad_(False)
    if isinstance(network, Network):
        network.end = network.soft_policy = None  # they have done their work
    for owner in network.modules():
        for norm in [name for name, child in owner.named_children() if isinstance(child, nn.BatchNorm2d)]:
            conv = "stem" if norm == "stem_norm" else norm.replace("norm", "conv")
            setattr(owner, conv, fuse_conv_bn_eval(getattr(owner, conv), getattr(owner, norm)))
            setattr(owner, norm, nn.Identity())
    return InferenceModule(network).requires_grad_(False)


def to_onnx(module: InferenceModule, observation_shape: tuple[int, ...]) -> onnx.ModelProto:
    """The module as an ONNX model: `observation` [B, ...] -> `logits` [B, A], `value` [B].

    Of a network of the user's own, only the weights that this depends on have a place in the model.
    """
    # The exporter merges weights that are equal and drops biases of 0, and a fresh network has many of both.
    # Later weights need a place each, so numbers without pattern are exported first.
    patternless, generator = copy.deepcopy(module), torch.Generator().manual_seed(0)
    for parameter in patternless.parameters():
        parameter.normal_(generator=generator)
    exporting: nn.Module = patternless
    observation, batch = torch.zeros(2, *observation_shape), {0: torch.export.Dim("batch")}
    arguments: tuple[Any, ...] = (observation,)
    shapes: tuple[Any, ...] = (batch,)
    names = []
    if isinstance(module.network, OwnNetwork):
        exporting = _GivenWeights(patternless)
        names = exporting.names
        arguments, shapes = (observation, exporting.weights), (batch, [None] * len(names))
    with warnings.catch_warnings():
        # The exporter warns about packages it could use and about its own internals.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            exporting,
            arguments,
            dynamo=True,
            input_names=["observation", *names],
            output_names=["logits", "value"],
            dynamic_shapes=shapes,
            opset_version=ONNX_OPSET,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    # The exporter notes for every node which lines of which files it came from: paths of this machine.
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.functions):
        del part.metadata_props[:]
        part.doc_string = ""
    if isinstance(exporting, _GivenWeights):
        exporting.become_initializers(model.graph)
    return with_weights(model, module)


class _GivenWeights(nn.Module):
    """An `InferenceModule` that is given its weights as an argument, so that the exporter keeps them as they are.

    It computes beforehand with numbers that it knows, such as a matrix's transpose; later weights had no place then.
    """

    def __init__(self, module: InferenceModule) -> None:
        super().__init__()
        self.call = partial(torch.func.functional_call, module)  # not a part, whose weights would be exported as well
        self.names, self.weights = list(module.state_dict()), list(module.state_dict().values())

    def forward(self, observation: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
        given = dict(zip(self.names, weights, strict=True))
        return self.call(given, (observation,))  # type: ignore[no-any-return]

    def become_initializers(self, graph: onnx.GraphProto) -> None:
        """Makes the weights among the graph's inputs numbers of the graph, apart from those that nothing uses."""
        used = {name for node in graph.node for name in node.input}
        for name, weight in zip(self.names, self.weights, strict=True):
            if name in used:
                graph.initializer.append(onnx.numpy_helper.from_array(weight.numpy(), name))
        del graph.input[1:]


def in_torch(model: onnx.ModelProto, game: Game, config: NetworkConfig) -> InferenceModule:
    """An exported network back in torch, where it can be differentiated. ValueError if they do not fit."""
    with torch.random.fork_rng():
        module = inference_module(make_network(game, config))
    weights = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    expected = module.state_dict()
    if config.own:  # a weight that its answers do not depend on is not exported
        expected = {name: tensor for name, tensor in expected.items() if name in weights}
    if faults := [n for n, t in expected.items() if n not in weights or weights[n].shape != t.shape]:
        raise ValueError(f"the ONNX model has other weights than its network's configuration says: {faults[0]}")
    module.load_state_dict({n: torch.from_numpy(weights[n].copy()) for n in expected}, strict=not config.own)
    return module


def with_weights(model: onnx.ModelProto, module: InferenceModule) -> onnx.ModelProto:
    """The same model with the module's weights: exporting takes seconds, this a millisecond.

    ValueError if the model has no place for one of them, unless the network is the user's own: there some may not
    count in play, which `exported` and `network.conformance` find out by what the model answers.
    """
    filled = onnx.ModelProto()
    filled.CopyFrom(model)
    weights = module.state_dict()
    for initializer in filled.graph.initializer:
        if initializer.name in weights:
            weight = weights.pop(initializer.name).detach()
            array = (weight.float() if weight.is_floating_point() else weight).numpy()
            initializer.CopyFrom(onnx.numpy_helper.from_array(array, initializer.name))
    if weights and not isinstance(module.network, OwnNetwork):
        raise ValueError(f"the ONNX model has no place for {', '.join(sorted(weights))}; export it again with to_onnx")
    return filled
