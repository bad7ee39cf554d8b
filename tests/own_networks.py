"""Networks of a user's own, for tests: some that keep every promise, and some that break one each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alphazero.network.architectures import Prediction

Answer = tuple[Tensor, Tensor]


class Plain(nn.Module):
    """A layer and two heads. made: with which arguments."""

    def __init__(
        self, observation_shape: tuple[int, ...], actions: int, outcomes: int, *, width: int = 8, slope: float = 0.0
    ) -> None:
        super().__init__()
        self.made = observation_shape, actions, outcomes, width, slope
        self.slope = slope
        self.body = nn.Linear(math.prod(observation_shape), width)
        self.policy, self.value = nn.Linear(width, actions), nn.Linear(width, outcomes)

    def forward(self, observation: Tensor) -> Any:
        x = F.leaky_relu(self.body(observation.flatten(1)), self.slope)
        return self.policy(x), self.value(x)


# --- That keep every promise


class Foreseeing(Plain):
    """Foresees the last position: all its cells by one number."""

    def __init__(self, observation_shape: tuple[int, ...], actions: int, outcomes: int, **options: Any) -> None:
        super().__init__(observation_shape, actions, outcomes, **options)
        self.last = nn.Parameter(torch.randn(2, *observation_shape))

    def forward(self, observation: Tensor) -> Prediction:
        logits, value = super().forward(observation)
        return Prediction(logits, value, self.last.expand(observation.shape[0], *self.last.shape))


class Softened(Plain):
    """Foresees nothing, but has a soft policy: its own policy again, and what can be learned of it."""

    def __init__(self, observation_shape: tuple[int, ...], actions: int, outcomes: int, **options: Any) -> None:
        super().__init__(observation_shape, actions, outcomes, **options)
        self.softer = nn.Parameter(torch.randn(actions))

    def forward(self, observation: Tensor) -> Prediction:
        logits, value = super().forward(observation)
        return Prediction(logits, value, None, logits + self.softer)


class Normed(nn.Module):
    """Convolutions whose names are those of the included networks', with norms that follow none of them at once."""

    def __init__(self, observation_shape: tuple[int, ...], actions: int, outcomes: int, *, width: int = 8) -> None:
        super().__init__()
        planes, height, breadth = observation_shape
        self.conv1, self.norm1 = nn.Conv2d(planes, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.stem, self.stem_norm = nn.Conv2d(width, width, 1), nn.BatchNorm2d(width)
        self.heads = nn.Linear(width * height * breadth, actions + outcomes)
        self.actions = actions

    def forward(self, observation: Tensor) -> Answer:
        x = self.norm1(torch.relu(self.conv1(observation)))
        x = torch.relu(x + self.conv2(self.norm2(x)))
        found = self.heads(self.stem(torch.relu(self.stem_norm(x))).flatten(1))
        return found[:, : self.actions], found[:, self.actions :]


class NormedOnce(Plain):
    """A convolution and its norm before the layer."""

    def __init__(self, observation_shape: tuple[int, ...], actions: int, outcomes: int) -> None:
        super().__init__(observation_shape, actions, outcomes)
        planes = observation_shape[0]
        self.mixed, self.norm = nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)

    def forward(self, observation: Tensor) -> Any:
        return super().forward(torch.relu(self.norm(self.mixed(observation))))


class Looking(Plain):
    """Looks at numbers while it is made, which tensors without memory do not have."""

    def __init__(self, *shape: Any, **options: Any) -> None:
        super().__init__(*shape, **options)
        self.rates = torch.linspace(0, 1, 3).tolist()
        self.scale = nn.Parameter(torch.full((), 1 + self.rates[1]))

    def forward(self, observation: Tensor) -> Any:
        logits, value = super().forward(observation)
        return logits * self.scale, value


class Varied(Plain):
    """Dropout, a table of whole numbers, a mask, a weight that is frozen, and sizes from the observation."""

    def __init__(self, observation_shape: tuple[int, ...], actions: int, outcomes: int, **options: Any) -> None:
        super().__init__(observation_shape, actions, outcomes, **options)
        cells = math.prod(observation_shape)
        self.register_buffer("order", torch.arange(cells).flip(0))
        self.register_buffer("mask", torch.arange(cells) % 5 > 0)
        self.frozen = nn.Parameter(torch.randn(cells), requires_grad=False)
        self.dropout = nn.Dropout(0.3)

    def forward(self, observation: Tensor) -> Answer:
        x = observation.view(observation.shape[0], -1)[:, self.order] * self.frozen
        x = torch.where(self.mask, x, torch.zeros((), dtype=x.dtype, device=x.device))
        return super().forward(self.dropout(x))


class Nameless(nn.Module):
    """Its last layer for the policy has a name of its own."""

    def __init__(self, observation_shape: tuple[int, ...], actions: int, outcomes: int) -> None:
        super().__init__()
        self.one = nn.Linear(math.prod(observation_shape), actions)
        self.two = nn.Linear(math.prod(observation_shape), outcomes)

    def forward(self, observation: Tensor) -> Answer:
        return self.one(observation.flatten(1)), self.two(observation.flatten(1))


# --- That break one


class NoModule:
    pass


class Keyless(nn.Module):
    def __init__(self, observation_shape: tuple[int, ...]) -> None:
        super().__init__()


class Failing(Plain):
    def __init__(self, *shape: Any, **options: Any) -> None:
        raise RuntimeError("no such luck")


class Demanding(Plain):
    def __init__(self, observation_shape: tuple[int, ...], actions: int, outcomes: int, depth: int) -> None:
        super().__init__(observation_shape, actions, outcomes)


class Listing(Plain):
    def forward(self, observation: Tensor) -> Any:
        return list(super().forward(observation))


class Alone(Plain):
    def forward(self, observation: Tensor) -> Any:
        return super().forward(observation)[:1]


class Wordy(Plain):
    def forward(self, observation: Tensor) -> Any:
        return super().forward(observation)[0], "a draw"


class Scalar(Plain):
    def forward(self, observation: Tensor) -> Any:
        logits, value = super().forward(observation)
        return logits, value[:, :1]


class Flat(Plain):
    def forward(self, observation: Tensor) -> Any:
        logits, value = super().forward(observation)
        return logits.flatten(), value


class Whole(Plain):
    def forward(self, observation: Tensor) -> Any:
        logits, value = super().forward(observation)
        return logits.long(), value


class Odd(Plain):
    def forward(self, observation: Tensor) -> Any:
        logits, value = super().forward(observation)
        return logits, value * math.nan


class Raising(Plain):
    def forward(self, observation: Tensor) -> Any:
        return super().forward(observation[:, :1])


class Mixing(Plain):
    def forward(self, observation: Tensor) -> Any:
        logits, value = super().forward(observation)
        return logits - logits.mean(0), value


class Chancy(Plain):
    def forward(self, observation: Tensor) -> Any:
        return super().forward(F.dropout(observation, 0.5, training=True))


class Changing(Plain):
    def forward(self, observation: Tensor) -> Any:
        return super().forward(observation.mul_(2))


class Spare(Plain):
    def __init__(self, *shape: Any, **options: Any) -> None:
        super().__init__(*shape, **options)
        self.spare = nn.Linear(2, 2)


class Detached(Plain):
    def forward(self, observation: Tensor) -> Any:
        logits, value = super().forward(observation)
        return logits.detach(), value.detach()


class Frozen(Plain):
    def __init__(self, *shape: Any, **options: Any) -> None:
        super().__init__(*shape, **options)
        self.requires_grad_(False)


class Double(Plain):
    def __init__(self, *shape: Any, **options: Any) -> None:
        super().__init__(*shape, **options)
        self.double()


class Lazy(Plain):
    def __init__(self, *shape: Any, **options: Any) -> None:
        super().__init__(*shape, **options)
        self.body = nn.LazyLinear(8)


class Tied(Plain):
    def __init__(self, *shape: Any, **options: Any) -> None:
        super().__init__(*shape, **options)
        self.again = self.body


class Unseeded(Plain):
    def __init__(self, *shape: Any, **options: Any) -> None:
        super().__init__(*shape, **options)
        drawn = np.random.default_rng().normal(size=tuple(self.body.weight.shape))
        self.body.weight = nn.Parameter(torch.from_numpy(drawn).float())


class Branching(Plain):
    def forward(self, observation: Tensor) -> Any:
        logits, value = super().forward(observation)
        return (logits, value) if bool(observation.sum() > 1000) else (logits, -value)


class Counting(Plain):
    def forward(self, observation: Tensor) -> Any:
        return super().forward(observation.reshape(len(observation), -1))


class Sorting(Plain):
    def forward(self, observation: Tensor) -> Any:
        return super().forward(observation.flatten(1).sort(1).values)


class Precise(Plain):
    """Makes float32 numbers whatever its observation is."""

    def forward(self, observation: Tensor) -> Any:
        ones = torch.ones(observation.flatten(1).shape[1], device=observation.device)
        return super().forward(observation.flatten(1) @ ones.diag())


class Normed1d(Plain):
    def __init__(self, observation_shape: tuple[int, ...], actions: int, outcomes: int, **options: Any) -> None:
        super().__init__(observation_shape, actions, outcomes, **options)
        self.norm = nn.BatchNorm1d(math.prod(observation_shape))

    def forward(self, observation: Tensor) -> Any:
        return super().forward(self.norm(observation.flatten(1)))


class Constant3(Plain):
    """Its value is of three outcomes, whatever it is asked for."""

    def __init__(self, observation_shape: tuple[int, ...], actions: int, outcomes: int) -> None:
        super().__init__(observation_shape, actions, 3)


class Foreshortened(Foreseeing):
    def forward(self, observation: Tensor) -> Prediction:
        prediction = super().forward(observation)
        assert prediction.end is not None
        return prediction._replace(end=prediction.end.flatten(2))


class Rounding(Plain):
    """Sees whether numbers are above 0, and nothing else of them."""

    def forward(self, observation: Tensor) -> Any:
        return super().forward((observation > 0).to(observation.dtype))


class Emptying(Plain):
    """Takes its options apart."""

    def __init__(self, observation_shape: tuple[int, ...], actions: int, outcomes: int, *, sizes: list[int]) -> None:
        super().__init__(observation_shape, actions, outcomes, width=sizes.pop())


class Named(Plain):
    def __init__(self, *shape: Any, name: str, **options: Any) -> None:
        super().__init__(*shape, **options)
        assert isinstance(name, str)
