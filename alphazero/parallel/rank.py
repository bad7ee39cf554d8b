"""A rank of the distributed learner: a process whose learner takes every step together with the other ranks'.

Gradients, the statistics of batch normalisation and measures are averaged over the ranks. A step is whole or has not
happened: a rank changes its state only when it is sure that all ranks had their part in the averages.
"""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple, cast

import numpy as np
import psutil
import ray
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from alphazero.config import LearnerConfig, NetworkConfig
from alphazero.game import Game, field_names, state_from
from alphazero.learner import Batch, Learner
from alphazero.parallel.executor import ExecutorError
from alphazero.replay import Samples

PATIENCE = timedelta(minutes=2)  # how long ranks wait for one another
GROUPS = {"abort": 1}  # concurrency groups of the actor: `abort` must not wait until another call is done


class Progress(NamedTuple):
    """The steps that a rank has done.

    steps:    the learner's, in all.
    measures: by tag, of all rows, for each step since the last message, the newest last.
    seconds:  CPU time of these steps.
    """

    steps: int
    measures: list[dict[str, float]]
    seconds: float


class Rank:
    """An actor of Ray, with the concurrency groups GROUPS. Its methods are called in the order of their definition."""

    def listen(self) -> tuple[str, int]:
        """Opens a port where the ranks find one another, at this machine's address in the cluster alone."""
        address = ray.util.get_node_ip_address()
        self.socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.socket.bind((address, 0))
        return address, self.socket.getsockname()[1]

    def join(
        self,
        address: tuple[str, int],
        number: int,
        ranks: int,
        game: Game,
        config: LearnerConfig,
        network_config: NetworkConfig,
    ) -> None:
        """Joins the process group at the address where rank 0 listens, and makes a learner."""
        torch.set_num_threads(max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))))
        interface = interface_of(ray.util.get_node_ip_address())
        os.environ["GLOO_SOCKET_IFNAME"], os.environ["NCCL_SOCKET_IFNAME"] = interface, f"={interface}"
        # When NCCL fails, the process must stay, for its state. (2: aborts the operations that wait, and no more.)
        os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "2"
        listening = self.socket.detach() if number == 0 else None
        store = cast(Any, dist).TCPStore(*address, ranks, number == 0, timeout=PATIENCE, master_listen_fd=listening)
        gpu = torch.device(config.device) if config.device != "cpu" else None
        dist.init_process_group(
            "nccl" if gpu else "gloo", store=store, rank=number, world_size=ranks, timeout=PATIENCE, device_id=gpu
        )
        self.learner = Learner(game, config, network_config, seed=0)
        self.norms = share_norms(self.learner.network)
        # The statistics need no broadcast: each rank computes the same.
        self.learner.predict_with(DistributedDataParallel(self.learner.network, broadcast_buffers=False))
        self.learner.network.train()

    def load(self, state: bytes) -> None:
        load_state(self.learner, state)

    def learn(self, batches: list[np.ndarray], rates: list[float], tercile: np.ndarray) -> Progress:
        """Takes a step on this rank's rows of each batch; see `arrays`."""
        learner = self.learner
        self.measures: list[tuple[list[str], Tensor]] = []
        self.started = time.thread_time()
        thirds = torch.from_numpy(tercile.copy()).to(learner.config.device)
        inputs = learner.inputs(batch_of(learner.game, batches, 0))
        for step, rate in enumerate(rates):
            measures = learner.gradients(inputs, thirds)
            if step + 1 < len(rates):  # while a GPU still computes
                inputs = learner.inputs(batch_of(learner.game, batches, step + 1))
            means = reduce_means(list(measures.values()))
            for norm in self.norms:
                norm.update_running_statistics()
            norm_of_gradient = learner.update(rate)
            self.measures.append(([*measures, "loss/gradient_norm"], torch.cat([means, norm_of_gradient[None]])))
        return self.progress()

    def progress(self) -> Progress:
        measures = [dict(zip(tags, found.tolist(), strict=True)) for tags, found in self.measures]
        return Progress(self.learner.steps, measures, time.thread_time() - self.started)

    def state(self) -> bytes:
        return state_of(self.learner)

    @ray.method(concurrency_group="abort")
    def abort(self) -> None:
        """Ends operations that wait for the other ranks. (Gloo notices by itself when a process dies.)"""
        if dist.group.WORLD is not None:
            dist.group.WORLD.abort()


def reduce_means(measures: list[Tensor]) -> Tensor:
    """The measures' means over all ranks. RuntimeError if not all took part in the step.

    It is the step's last operation with the others, and NCCL does them in order: if this one is complete, so are those
    of the gradients and statistics. An operation that is cut short leaves any sum but the number of ranks.
    """
    sums = torch.stack([torch.ones_like(measures[0]), *measures])
    dist.all_reduce(sums)
    if float(sums[0]) != dist.get_world_size():
        raise RuntimeError(f"of {dist.get_world_size()} ranks only {float(sums[0]):g} took part in a step")
    return sums[1:] / sums[0]


def interface_of(address: str) -> str:
    """The network interface that has the address. ExecutorError if there is none."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(own.address.partition("%")[0] == address for own in addresses):
            return str(name)
    raise ExecutorError(f"Ray has {address} for this machine, and no network interface has that address")


# --- Batch normalisation over all ranks' rows


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation in training, by the mean and variance of all ranks' rows, of which each has as many.

    Takes over the parameters and statistics of `norm`. (torch's SyncBatchNorm is for GPUs alone.)
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.mean, self.variance = statistics(x.float())
        self.rows = x[:, 0].numel() * dist.get_world_size()
        apply: Any = StatisticsGradient.apply  # has no types
        x, weight, bias = apply(x, self.weight, self.bias, self.mean, (self.variance + self.eps).rsqrt())
        return F.batch_norm(x, self.mean, self.variance, weight, bias, eps=self.eps)

    def update_running_statistics(self) -> None:
        """Updates the running statistics, as torch does in `forward`; called once the step is whole."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(self.mean, self.momentum)
        self.running_var.lerp_(self.variance * (self.rows / (self.rows - 1)), self.momentum)
        self.num_batches_tracked += 1


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [C] of all ranks' x [B, C, H, W]: the variance is its mean, plus that of the means."""
    mean = x.mean((0, 2, 3))
    variance = (x - mean[:, None, None]).square_().mean((0, 2, 3))
    # Each rank fills its row, and the sum has all rows: with gloo, in half the time of its all-gather.
    ranks = mean.new_zeros(dist.get_world_size(), 2, len(mean))
    ranks[dist.get_rank()] = torch.stack((mean, variance))
    dist.all_reduce(ranks)
    means, variances = ranks.unbind(1)
    mean = means.mean(0)
    return mean, (variances + (means - mean).square()).mean(0)


class StatisticsGradient(torch.autograd.Function):
    """The identity before `F.batch_norm`; backward, it adds the gradient through the statistics.

    F.batch_norm takes the given statistics for constants: its gradient for x is g weight / σ, and those for weight and
    bias are the sums of g x̂ and of g over this rank's rows. The gradient for x of Ioffe and Szegedy 2015, Section 3,
    is weight / σ (g - mean(g) - x̂ mean(g x̂)), with means over all ranks' rows.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, ...]:
        """inverse: [C], 1 / σ."""
        ctx.save_for_backward(x, weight, mean, inverse)
        return x.view_as(x), weight.view_as(weight), bias.view_as(bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient, gradient_weight, gradient_bias = gradients
        x, weight, mean, inverse = ctx.saved_tensors
        sums = torch.stack((gradient_bias, gradient_weight))
        dist.all_reduce(sums)
        mean_g, mean_gx = sums / (x[:, 0].numel() * dist.get_world_size())
        # weight / σ (mean(g) + x̂ mean(g x̂)) as a line in x
        slope = weight * inverse.square() * mean_gx
        offset = weight * inverse * mean_g - slope * mean
        missing = torch.addcmul(offset[:, None, None], slope[:, None, None], x.float())
        return (gradient - missing).to(gradient.dtype), gradient_weight, gradient_bias, None, None


def share_norms(network: nn.Module) -> list[SharedBatchNorm2d]:
    """Replaces every batch normalisation by a `SharedBatchNorm2d`; returns them."""
    shared = []
    for owner in list(network.modules()):
        for name, norm in list(owner.named_children()):
            if isinstance(norm, nn.BatchNorm2d):
                shared.append(SharedBatchNorm2d(norm))
                setattr(owner, name, shared[-1])
    return shared


# --- Between processes


def state_of(learner: Learner) -> bytes:
    """All that learning changes in a learner, as bytes. torch keeps the memory layout of the optimizer's moments."""
    content = io.BytesIO()
    torch.save(
        {"tensors": learner.tensors(), "optimizer": learner.optimizer.state_dict(), "steps": learner.steps}, content
    )
    return content.getvalue()


def load_state(learner: Learner, state: bytes) -> None:
    learner.load(**torch.load(io.BytesIO(state), map_location="cpu", weights_only=True))


def arrays(batches: Sequence[Batch]) -> list[np.ndarray]:
    """K batches as arrays [K, B, ...]: the state's fields, the other fields of `Samples`, the symmetry."""
    fields = zip(*((*b.samples.state, *b.samples[1:], b.symmetry) for b in batches), strict=True)
    return [torch.stack(field).numpy() for field in fields]


def batch_of(game: Game, batches: list[np.ndarray], step: int) -> Batch:
    """The batch of this number, from `arrays`."""
    fields = [torch.from_numpy(field[step].copy()) for field in batches]  # Ray's arrays are read-only
    inner = len(field_names(game.state_type))
    state, others = state_from(game.state_type, fields[:inner]), fields[inner:]
    return Batch(Samples(state, *others[:-1]), others[-1])
