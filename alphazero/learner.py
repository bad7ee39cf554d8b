"""The learner: samples to weights."""

from __future__ import annotations

import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from alphazero.config import LearnerConfig, NetworkConfig
from alphazero.game import Game, map_states, named_fields, where
from alphazero.mcts.cuda_graph import GATE, CannotRecordError, record
from alphazero.mcts.policy import policy_of
from alphazero.network.architectures import (
    InferenceModule,
    inference_module,
    lay_out,
    make_network,
)
from alphazero.network.engines import best_precision
from alphazero.replay import Samples

Tensors = tuple[Tensor, ...] | list[Tensor]
Average = Callable[[Tensors, Tensors, Any], None]

WARM_UP = 2  # steps of a call of `learn` before one is recorded
STAGES = ("opening", "middle", "end")  # thirds of the training set by plies left


class LearningError(Exception):
    """Learning cannot go on: the loss is not a number any more."""


class Batch(NamedTuple):
    """B samples that a step learns from.

    samples:  B of them.
    symmetry: [B] int64, the game's symmetry under which each is learned from, counted from 1; 0: as it is.
    """

    samples: Samples
    symmetry: Tensor


class Inputs(NamedTuple):
    """A batch as the network and the losses take it, on the learner's device; fields as in `Samples`.

    observation: [B, *observation_shape] float32, under the batch's symmetries as all that follows.
    legal:       [B, A] bool.
    end:         as the observation, of the game's last position.
    sampled:     [B, K, D] float32, coordinates in the Box (see `box`).
    turned:      [B] int64, 1 where it is another player's turn in the last position, else 0.
    """

    observation: Tensor
    legal: Tensor
    policy: Tensor
    end: Tensor
    value: Tensor
    drawn: Tensor
    weight: Tensor
    plies_left: Tensor
    sampled: Tensor
    turned: Tensor
    played_out: Tensor


class Learner:
    """The network, its optimizer, and the exponential average of its weights.

    model: makes the predictions: the network, or a wrapper that shares its gradients with other ranks.
    """

    def __init__(self, game: Game, config: LearnerConfig, network_config: NetworkConfig, *, seed: int) -> None:
        self.game, self.config, self.network_config = game, config, network_config
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.network = make_network(game, network_config)
        self.network.to(config.device)
        self.model: nn.Module = self.network
        self.layout = lay_out(self.network, game.observation_shape)
        self.moving_average = get_ema_multi_avg_fn(config.ema_decay)
        if network_config.own:
            self.moving_average = with_whole_numbers_copied(self.moving_average)
        self.average = AveragedModel(self.network, multi_avg_fn=self.moving_average, use_buffers=True)
        self.device = torch.device(config.device)
        self.on_gpu = self.device.type == "cuda"
        self.policy = policy_of(game)
        precision = best_precision(game, config.device) if config.precision == "auto" else config.precision
        self.bfloat16 = precision == "bfloat16"
        sgd = partial(SGD, momentum=0.9, fused=self.on_gpu or None)
        kind: Any = partial(AdamW, fused=True) if config.optimizer == "adamw" else sgd
        self.optimizer: Optimizer = kind(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.steps = 0
        self.recorded: RecordedStep | None = None
        self.recordable = self.on_gpu

    def predict_with(self, model: nn.Module) -> None:
        """Makes predictions with `model`: the network in a wrapper that shares its gradients with other processes."""
        self.model, self.recorded = model, None

    def weights(self) -> InferenceModule:
        """The averaged weights, ready for inference, as a copy on the CPU."""
        return inference_module(self.average.module).cpu()

    def learning_rate(self, progress: float) -> float:
        """At `progress` in [0, 1] of the run: a linear warm-up, then half a cosine down to 1 % of the peak."""
        config = self.config
        if progress < config.warmup:
            return config.learning_rate * progress / config.warmup
        if config.schedule == "constant":
            return config.learning_rate
        fall = (progress - config.warmup) / max(1e-9, 1 - config.warmup)
        return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))

    def learning_rates(self, steps: int, start: float, end: float) -> list[float]:
        """The learning rates of `steps` steps, spread over the run from `start` to `end` in [0, 1]."""
        return [self.learning_rate(start + (end - start) * step / steps) for step in range(steps)]

    def learn(
        self,
        samples: Samples,
        rates: list[float],
        generator: torch.Generator,
        *,
        progress: Callable[[int], None] = lambda steps: None,
    ) -> dict[str, float]:
        """Takes a step at each of the learning rates, on batches drawn from `samples`; returns mean metrics by tag."""
        started = time.thread_time()
        self.network.train()
        with GATE.using(self.device):
            tercile = moved(terciles(samples), self.device)
            if self.on_gpu and fits(samples, self.device):
                samples = map_states(partial(Tensor.to, device=self.device), samples)
        totals: dict[str, Tensor] = {}
        with seeded(generator) if self.network_config.own else nullcontext():
            for number, rate in enumerate(rates):
                with GATE.using(self.device):
                    batch = draw(self.game, samples, self.config.batch_size, generator)
                    if self.recordable and self.recorded is None and number >= WARM_UP:
                        self.record(batch, tercile)
                    step = self.recorded or self.step
                    for tag, metric in step(batch, rate, tercile).items():  # summed on their device, without waiting
                        totals[tag] = totals.get(tag, 0) + metric
                progress(1)
        means = self.means({tag: float(total) for tag, total in totals.items()}, rates)
        return means | {"learner/seconds": time.thread_time() - started}

    def step(self, batch: Batch, rate: float, tercile: Tensor) -> dict[str, Tensor]:
        """A step on the batch at the learning rate; returns metrics by tag. tercile: see `gradients`."""
        metrics = self.gradients(self.inputs(batch), tercile)
        return metrics | {"loss/gradient_norm": self.update(rate)}

    def record(self, batch: Batch, tercile: Tensor) -> None:
        """Records a step such as one on this batch; warns if it cannot be recorded."""
        try:
            self.recorded = RecordedStep(self, batch, tercile)
        except CannotRecordError as error:
            self.recordable = False
            warnings.warn(
                f"{self.game.name}: a step of learning cannot be recorded as a CUDA graph, and takes longer without "
                f"({error})",
                RuntimeWarning,
                stacklevel=3,
            )

    def inputs(self, batch: Batch) -> Inputs:
        """The batch, each sample under its symmetry."""
        batch = map_states(partial(moved, device=self.device), batch)
        samples = batch.samples
        sampled = self.policy.coordinates(samples.sampled)
        turned = (self.game.to_play(samples.state) != self.game.to_play(samples.end)).long()
        view = augmented(self.game, batch, ends=bool(self.network_config.end_weight))
        view = view._replace(observation=view.observation.contiguous(memory_format=self.layout))
        return Inputs(
            *view, samples.value, samples.drawn, samples.weight, samples.plies_left, sampled, turned, samples.played_out
        )

    def gradients(self, inputs: Inputs, tercile: Tensor) -> dict[str, Tensor]:
        """Computes the gradients of the batch's loss, which stay with the weights; returns metrics by tag.

        tercile: [2], what `terciles` returns.
        """
        config, weight = self.config, inputs.weight
        # No cache of converted weights: none is used twice in a step, and a recorded step must convert them anew.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16, cache_enabled=False):
            prediction = self.model(inputs.observation)
        log_policy, entropy = self.policy.log_policy(prediction.logits.float(), inputs.legal, inputs.sampled)
        policy_losses = -(inputs.policy * log_policy).sum(-1)
        value_losses = value_loss(prediction.value.float(), inputs.value, inputs.drawn)
        policy_loss, value_loss_ = (weight * policy_losses).mean(), (weight * value_losses).mean()
        loss = policy_loss + config.value_weight * value_loss_
        if prediction.end is not None:
            known = weight * inputs.played_out
            end_loss_ = (known * end_loss(prediction.end.float(), inputs.end, inputs.turned)).mean()
            loss = loss + self.network_config.end_weight * end_loss_
        if prediction.soft_policy is not None:
            log_soft, _ = self.policy.log_policy(prediction.soft_policy.float(), inputs.legal, inputs.sampled)
            soft_loss = -(weight * (softened(inputs.policy) * log_soft).sum(-1)).mean()
            loss = loss + self.network_config.soft_policy_weight * soft_loss
        self.optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            metrics = {
                "loss/total": loss,
                "loss/policy": policy_loss,
                "loss/value": value_loss_,
                "loss/policy_entropy": entropy.mean(),
            }
            if prediction.end is not None:
                metrics["loss/end"] = end_loss_
            if prediction.soft_policy is not None:
                metrics["loss/soft_policy"] = soft_loss
            if self.game.discrete:  # else it says nothing of a density's loss
                metrics["loss/target_entropy"] = torch.special.entr(inputs.policy).sum(-1).mean()
            losses = policy_losses + config.value_weight * value_losses
            metrics |= by_stage(losses, inputs.plies_left, tercile.to(losses.device))
        return {tag: metric.detach() for tag, metric in metrics.items()}

    def update(self, rate: float) -> Tensor:
        """Takes a step down the weights' gradients, and updates the average; returns the gradients' norm."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = self.descend()
        self.average.update_parameters(self.network)
        self.steps += 1
        return norm

    def descend(self) -> Tensor:
        """Moves the weights down their gradients, and returns the gradients' norm."""
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        return norm

    def means(self, totals: Mapping[str, float], rates: Sequence[float]) -> dict[str, float]:
        """Mean metrics by tag, from totals over the last steps, which were taken at these learning rates.

        LearningError if a loss or the gradient's norm is not a number.
        """
        steps, rate = len(rates), rates[-1] if rates else 0.0
        means = {tag: total / steps for tag, total in totals.items()}
        for stage in STAGES:
            share = means.pop(f"share/{stage}", 0.0)
            if share > 0:
                means[f"loss_by_stage/{stage}"] /= share
        # A gradient can ruin the weights in a step whose own loss is still a number.
        for name, tag in (("loss", "loss/total"), ("gradient's norm", "loss/gradient_norm")):
            if math.isfinite(means.get(tag, 0.0)):
                continue
            raise LearningError(
                f"the {name} is {means[tag]} after {self.steps} steps; lower learner.learning_rate (now {rate:.2g}) "
                f"or learner.max_grad_norm (now {self.config.max_grad_norm}) and resume from the last checkpoint"
            )
        return means | {"loss/learning_rate": rate, "learner/steps": steps}

    def tensors(self) -> dict[str, Tensor]:
        """The network and its average, by name, for `checkpoint`."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        return tensors | {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}

    def load_networks(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes up what `tensors` returned. RuntimeError if the network is of another shape."""
        for prefix, module in (("network.", self.network), ("average.", self.average)):
            module.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})

    def load(self, tensors: Mapping[str, Tensor], optimizer: dict[str, Any], steps: int) -> None:
        """Takes up the networks and the optimizer's moments; its settings stay the configuration's.

        RuntimeError or ValueError if they are of another network or optimizer.
        """
        settings = [{n: s for n, s in group.items() if n != "params"} for group in self.optimizer.param_groups]
        saved = [{n for n in group if n != "params"} for group in optimizer["param_groups"]]
        if saved != [set(group) for group in settings]:
            raise ValueError(f'it was not made with learner.optimizer = "{self.config.optimizer}"')
        self.load_networks(tensors)
        self.optimizer.load_state_dict(optimizer)
        self.recorded = None  # it goes on with the moments that were there before
        for group, own in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(own)
        self.steps = steps


class RecordedStep:
    """`Learner.step` on a GPU as a CUDA graph (`cuda_graph`): recorded once, and repeated without Python in between.

    It reads its batch and its learning rate in places of their own, and changes the learner's tensors where they are.
    """

    def __init__(self, learner: Learner, batch: Batch, tercile: Tensor) -> None:
        """Takes no step, but needs a learner that has taken some. CannotRecordError if it cannot be recorded."""
        self.learner = learner
        self.batch = map_states(lambda field: moved(field, learner.device).clone(), batch)
        self.tercile, self.rate = tercile.clone(), torch.zeros((), device=learner.device)
        self._repeat = record(self._run, learner.device, warm=True)

    def __call__(self, batch: Batch, rate: float, tercile: Tensor) -> dict[str, Tensor]:
        """As `Learner.step`; what it returns changes with the next call."""
        map_states(lambda own, given: own.copy_(moved(given, own.device)), self.batch, batch)
        self.tercile.copy_(tercile)
        self.rate.fill_(rate)
        metrics = self._repeat()
        self.learner.average.n_averaged += 1
        self.learner.steps += 1
        return metrics

    def _run(self) -> dict[str, Tensor]:
        learner, groups = self.learner, self.learner.optimizer.param_groups
        metrics = learner.gradients(learner.inputs(self.batch), self.tercile)
        settings = [dict(group) for group in groups]
        for group in groups:
            group.update({"lr": self.rate} | ({"capturable": True} if "capturable" in group else {}))
        try:
            metrics["loss/gradient_norm"] = learner.descend()
        finally:
            for group, before in zip(groups, settings, strict=True):
                group.update(before)
        self._average()
        return metrics

    def _average(self) -> None:
        """What `average.update_parameters` does from its second call on, without asking the CPU for their number."""
        learner = self.learner
        networks = learner.average.module, learner.network
        averaged, new = ([*itertools.chain(of.parameters(), of.buffers())] for of in networks)
        for number in (False, True):
            pairs = [pair for pair in zip(averaged, new, strict=True) if pair[0].is_floating_point() == number]
            if pairs:
                learner.moving_average(*map(list, zip(*pairs, strict=True)), None)


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """A context in which torch's own generator on the CPU, from which dropout draws, has this one's seed."""
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(generator.initial_seed())
        yield


def with_whole_numbers_copied(average: Average) -> Average:
    """The average, but of whole numbers the newest: torch would round theirs down, and indices must stay exact."""

    def averaged(old: Tensors, new: Tensors, count: Any) -> None:
        if old[0].is_floating_point():
            average(old, new, count)
        else:
            for own, given in zip(old, new, strict=True):
                own.copy_(given)

    return averaged


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. Nothing waits for its copy to a GPU."""
    tensor = tensor.pin_memory() if tensor.is_cpu and device.type == "cuda" else tensor
    return tensor.to(device, non_blocking=True)


def fits(samples: Samples, device: torch.device) -> bool:
    """Whether the GPU has room for the samples, twice over."""
    return 2 * sum(field.nbytes for field in named_fields(samples).values()) < torch.cuda.mem_get_info(device)[0]


def draw(game: Game, samples: Samples, size: int, generator: torch.Generator) -> Batch:
    """`size` of the samples, each under a random symmetry of the game."""
    index = torch.randint(samples.size, (size,), generator=generator)
    symmetries = len(game.symmetries())
    if symmetries:
        symmetry = torch.randint(symmetries + 1, (size,), generator=generator)
    else:  # then nothing is drawn for them
        symmetry = torch.zeros(size, dtype=torch.int64)
    return Batch(samples.at(moved(index, samples.value.device)), symmetry)


class View(NamedTuple):
    """What a symmetry maps, of B samples."""

    observation: Tensor
    legal: Tensor
    policy: Tensor
    end: Tensor


def augmented(game: Game, batch: Batch, *, ends: bool = False) -> View:
    """Observations, legal mask and policy, each sample under its symmetry. ends: whether those are observed, too."""
    observation, legal = game.observe(batch.samples.state), game.legal(batch.samples.state)
    end = game.observe(batch.samples.end) if ends else observation
    policy = batch.samples.policy
    view = View(observation, legal, policy, end)
    # All samples under each symmetry, since to choose some would wait for a GPU.
    for number, symmetry in enumerate(game.symmetries(), start=1):
        actions = _tensor(symmetry.actions, policy.device)
        mapped = View(
            symmetry.observation(observation),
            legal.index_select(1, actions),
            policy.index_select(1, actions),
            symmetry.observation(end),
        )
        view = where(batch.symmetry == number, mapped, view)
    return view


@lru_cache(maxsize=256)
def _tensor(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(numbers, device=device)


def terciles(samples: Samples) -> Tensor:
    """[2] int64, the plies left that divide the samples into STAGES: a third has as many or fewer, and two thirds."""
    ranks = torch.tensor([(samples.size - 1) // 3, 2 * (samples.size - 1) // 3])
    # Counting is faster than sorting: torch's own quantiles take longer than all else in a few steps.
    return torch.searchsorted(samples.plies_left.bincount().cumsum(0), ranks, right=True)


def value_loss(predicted: Tensor, target: Tensor, drawn: Tensor) -> Tensor:
    """The loss [B] of predicted [B, 3] or [B, 1] against target and drawn [B].

    Win, draw and loss: cross-entropy against the distribution whose P(win) - P(loss) is the
    target; P(draw) is as large as that leaves room for if the game was drawn, else 0.
    One number: squared error.
    """
    if predicted.shape[-1] == 1:
        return (predicted[:, 0].tanh() - target).square()
    draw = drawn * (1 - target.abs())
    distribution = torch.stack(((1 - draw + target) / 2, draw, (1 - draw - target) / 2), -1)
    return F.cross_entropy(predicted, distribution, reduction="none")


def end_loss(predicted: Tensor, end: Tensor, turned: Tensor) -> Tensor:
    """The mean squared error [B] of predicted [B, 2, *observation_shape] against `end`, of the half that `turned` says.

    As KataGo foresees the owner of each point (Wu 2019, 4.1): what a board comes to tells more than who wins.
    """
    rows = torch.arange(len(turned), device=turned.device)
    return (predicted[rows, turned] - end).square().flatten(1).mean(1)


def softened(policy: Tensor) -> Tensor:
    """The policy [B, A] at temperature 4, in proportion to its fourth root: moves that were given up still count.

    A head that learns it tells a fair move from a poor one where both are next to nothing in the policy (KataGo).
    """
    roots = policy**0.25
    return roots / roots.sum(-1, keepdim=True)


def by_stage(losses: Tensor, plies_left: Tensor, tercile: Tensor) -> dict[str, Tensor]:
    """Sums of losses by stage of the game, over the batch's size, and each stage's share of it."""
    late, early = plies_left <= tercile[0], plies_left > tercile[1]
    metrics = {}
    for stage, members in zip(STAGES, (early, ~early & ~late, late), strict=True):
        metrics[f"loss_by_stage/{stage}"] = (losses * members).mean()
        metrics[f"share/{stage}"] = members.float().mean()
    return metrics
