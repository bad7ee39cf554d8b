"""Networks: from observations to a policy and a value.

Training uses `Network`; inference uses its `inference_module`, with batch normalisation folded
into the convolutions, in torch or exported to ONNX.
"""

from __future__ import annotations

import copy
import itertools
import logging
import math
import warnings
from typing import NamedTuple

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from alphazero.config import NetworkConfig
from alphazero.game import Game
from alphazero.mcts.policy import policy_of

ONNX_OPSET = 20
MOST_PARAMETERS = 1 << 28  # of a network: 1 GiB; AlphaGo Zero's larger one has 47 million
MOST_ACTIVATIONS = 1 << 20  # numbers of a layer's output, for one position


class Prediction(NamedTuple):
    """The network's output for B observations.

    logits: [B, A], before masking; in a Box game [B, 2 D], see `mcts.gaussian.Gaussian`.
    value:  [B, 3] logits of win, draw and loss for the player to move, or [B, 1] before tanh.
    end:    [B, 2, *observation_shape], what is observed in the game's last position if it is the same player's turn as
            now there, and what if it is another's; None without a head for it.
    """

    logits: Tensor
    value: Tensor
    end: Tensor | None = None


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

    def forward(self, observation: Tensor) -> Prediction:
        x = self.placed(self.stem_norm(self.stem(observation)))
        for block in self.blocks:
            x = block(x)
        policy = torch.relu_(self.policy_norm(self.policy_conv(x))).flatten(1)
        value = torch.relu_(self.value_norm(self.value_conv(x))).flatten(1)
        end = None if self.end is None else self.end(x).unflatten(1, (2, -1))
        return Prediction(self.policy(policy), self.value(torch.relu_(self.value_hidden(value))), end)

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

    def forward(self, observation: Tensor) -> Prediction:
        x = observation.flatten(1)
        for layer in self.layers:
            x = F.relu(layer(x))
        end = None if self.end is None else self.end(x).unflatten(1, (2, *observation.shape[1:]))
        return Prediction(self.policy(x), self.value(x), end)


Network = ResidualNetwork | DenseNetwork


def make_network(game: Game, config: NetworkConfig) -> Network:
    """A network with fresh weights, drawn from torch's global generator. ValueError if the two do not fit."""
    check_network(game, config)
    network = _network(game, config)
    with torch.no_grad():
        policy_of(game).initialise(network.policy.bias, config.deviation)
    return network


def check_network(game: Game, config: NetworkConfig) -> None:
    """ValueError if game and network do not fit, or it would be larger than any here; makes nothing."""
    if config.value_head == "wdl" and game.num_players != 2:
        raise ValueError(f'network.value_head = "wdl" needs a game for two, and {game.name} is for one; use "scalar"')
    if config.kind == "residual" and len(game.observation_shape) != 3:
        raise ValueError(
            f'network.kind = "residual" needs observations [planes, height, width], and those of {game.name} are '
            f'{list(game.observation_shape)}; use "dense"'
        )
    with torch.device("meta"):  # where tensors have sizes, and take no memory
        size = sum(parameter.numel() for parameter in _network(game, config).parameters())
    cells = math.prod(game.observation_shape[1:]) if config.kind == "residual" else 1
    if size > MOST_PARAMETERS or max(config.width, config.head_channels) * cells > MOST_ACTIVATIONS:
        raise ValueError(
            f"network.blocks = {config.blocks} and network.width = {config.width} make {size:,} parameters for "
            f"{game.name}; {MOST_PARAMETERS:,}, and {MOST_ACTIVATIONS:,} numbers a layer, are the most"
        )


def _network(game: Game, config: NetworkConfig) -> Network:
    kind = DenseNetwork if config.kind == "dense" else ResidualNetwork
    return kind(game.observation_shape, policy_of(game).outputs, 3 if config.value_head == "wdl" else 1, config)


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

    Channels last for convolutions, which are faster so on CPUs and GPUs.
    """
    layout = torch.channels_last if len(observation_shape) == 3 else torch.contiguous_format
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return layout


def inference_module(network: nn.Module) -> InferenceModule:
    """A copy for inference, in eval mode, without what only learning needs, and with batch normalisation folded."""
    network = copy.deepcopy(network).eval()
    if isinstance(network, Network):
        network.end = None  # it has done its work
    for owner in network.modules():
        for norm in [name for name, child in owner.named_children() if isinstance(child, nn.BatchNorm2d)]:
            conv = "stem" if norm == "stem_norm" else norm.replace("norm", "conv")
            setattr(owner, conv, fuse_conv_bn_eval(getattr(owner, conv), getattr(owner, norm)))
            setattr(owner, norm, nn.Identity())
    return InferenceModule(network).requires_grad_(False)


def to_onnx(module: InferenceModule, observation_shape: tuple[int, ...]) -> onnx.ModelProto:
    """The module as an ONNX model: `observation` [B, ...] -> `logits` [B, A], `value` [B]."""
    # The exporter merges weights that are equal and drops biases of 0, and a fresh network has many of both.
    # Later weights need a place each, so numbers without pattern are exported first.
    patternless, generator = copy.deepcopy(module), torch.Generator().manual_seed(0)
    for parameter in patternless.parameters():
        parameter.normal_(generator=generator)
    with warnings.catch_warnings():
        # The exporter warns about packages it could use and about its own internals.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            patternless,
            (torch.zeros(2, *observation_shape),),
            dynamo=True,
            input_names=["observation"],
            output_names=["logits", "value"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=ONNX_OPSET,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    # The exporter notes for every node which lines of which files it came from: paths of this machine.
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.functions):
        del part.metadata_props[:]
        part.doc_string = ""
    return with_weights(model, module)


def in_torch(model: onnx.ModelProto, game: Game, config: NetworkConfig) -> InferenceModule:
    """An exported network back in torch, where it can be differentiated. ValueError if they do not fit."""
    with torch.random.fork_rng():
        module = inference_module(make_network(game, config))
    weights = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    expected = module.state_dict()
    if faults := [n for n, t in expected.items() if n not in weights or weights[n].shape != t.shape]:
        raise ValueError(f"the ONNX model has other weights than its network's configuration says: {faults[0]}")
    module.load_state_dict({name: torch.from_numpy(weights[name].copy()) for name in expected})
    return module


def with_weights(model: onnx.ModelProto, module: InferenceModule) -> onnx.ModelProto:
    """The same model with the module's weights: exporting takes seconds, this a millisecond.

    ValueError if the model has no place for one of them.
    """
    filled = onnx.ModelProto()
    filled.CopyFrom(model)
    weights = module.state_dict()
    for initializer in filled.graph.initializer:
        if initializer.name in weights:
            array = weights.pop(initializer.name).detach().float().numpy()
            initializer.CopyFrom(onnx.numpy_helper.from_array(array, initializer.name))
    if weights:
        raise ValueError(f"the ONNX model has no place for {', '.join(sorted(weights))}; export it again with to_onnx")
    return filled
