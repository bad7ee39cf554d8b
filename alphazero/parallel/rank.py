"""A rank of the distributed learner: a process whose learner takes every step together with the other ranks'.

Gradients, the statistics of batch normalisation and measures are averaged over the ranks. A step is whole or has not
happened: a rank changes its state only when it is sure that all ranks had their part in the averages.
"""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, cast

import psutil
import ray
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from alphazero.game import map_states
from alphazero.learner import Batch, Learner
from alphazero.parallel.executor import ExecutorError

PATIENCE = timedelta(minutes=2)  # how long ranks wait for one another


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
    """An actor of Ray, with the concurrency group `abort`. Its methods are called in the order of their definition."""

    def listen(self) -> tuple[str, int]:
        """Opens a port where the ranks find one another, at this machine's address in the cluster alone."""
        address = ray.util.get_node_ip_address()
        self.socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.socket.bind((address, 0))
        return address, self.socket.getsockname()[1]

    def join(self, address: tuple[str, int], number: int, ranks: int, make_learner: Callable[[], Learner]) -> None:
        """Makes a learner, and joins the process group at the address where rank 0 listens."""
        torch.set_num_threads(max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))))
        interface = interface_of(ray.util.get_node_ip_address())
        os.environ["GLOO_SOCKET_IFNAME"], os.environ["NCCL_SOCKET_IFNAME"] = interface, f"={interface}"
        # When NCCL fails, the process must stay, for its state. (2: aborts the operations that wait, and no more.)
        os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "2"
        listening = self.socket.detach() if number == 0 else None
        store = cast(Any, dist).TCPStore(*address, ranks, number == 0, timeout=PATIENCE, master_listen_fd=listening)
        self.learner = make_learner()
        gpu = torch.device(self.learner.config.device) if self.learner.config.device != "cpu" else None
        dist.init_process_group(
            "nccl" if gpu else "gloo", store=store, rank=number, world_size=ranks, timeout=PATIENCE, device_id=gpu
        )
        self.norms = share_norms(self.learner.network)
        # The statistics need no broadcast: each rank computes the same.
        self.learner.predict_with(DistributedDataParallel(self.learner.network, broadcast_buffers=False))
        self.learner.network.train()

    def load(self, state: bytes) -> None:
        load_state(self.learner, state)
        self.measures: list[tuple[list[str], Tensor]] = []
        self.started = time.thread_time()

    def learn(self, batches: Batch, rates: list[float], tercile: Tensor) -> Progress:
        """Takes a step on this rank's rows of each batch; see `arrays`."""
        self.measures, self.started = [], time.thread_time()
        learner, tercile = self.learner, tercile.to(self.learner.config.device)
        prepared = (learner.inputs(batch_of(batches, step)) for step in range(len(rates)))
        inputs = next(prepared)
        for rate in rates:
            measures = learner.gradients(inputs, tercile)
            inputs = next(prepared, inputs)  # while a GPU still computes
            means = reduce_means(list(measures.values()))
            for norm in self.norms:
                norm.update_running_statistics()
            norm_of_gradient = learner.update(rate)
            self.measures.append(([*measures, "loss/gradient_norm"], torch.cat([means, norm_of_gradient[None]])))
        return self.progress()

    def progress(self) -> Progress:
        measures = [dict(zip(tags, found.tolist(), strict=True)) for tags, found in self.measures]
        return Progress(self.learner.steps, measures, time.thread_time() - self.started)

    def newest(self) -> tuple[Progress, bytes]:
        """The progress, and the state after it."""
        return self.progress(), state_of(self.learner)

    @ray.method(concurrency_group="abort")
    def abort(self) -> None:
        """Ends operations that wait for the other ranks; answers while another method runs.

        (Gloo notices by itself when a process dies.)
        """
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

    (torch's SyncBatchNorm is for GPUs alone.)
    """

    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.mean, self.variance = statistics(x.float())
        self.rows = x[:, 0].numel() * dist.get_world_size()
        apply: Any = StatisticsGradient.apply  # has no types
        x, weight, bias = apply(x, self.weight, self.bias, self.mean, (self.variance + self.eps).rsqrt())
        return F.batch_norm(x, self.mean, self.variance, weight, bias, eps=self.eps)

    def update_running_statistics(self) -> None:
        """Updates the running statistics, as torch does in `forward`; called once the step is whole."""
        mean, variance, batches = self.buffers()
        mean.lerp_(self.mean, self.momentum)
        variance.lerp_(self.variance * (self.rows / (self.rows - 1)), self.momentum)
        batches += 1


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
    """Makes every batch normalisation a `SharedBatchNorm2d`, with what it holds; returns them."""
    norms: list[Any] = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.__class__ = SharedBatchNorm2d
    return norms


# --- Between processes


def state_of(learner: Learner) -> bytes:
    """All that learning changes in a learner, as bytes. torch keeps the memory layout of the optimizer's moments."""
    content = io.BytesIO()
    parts = {"tensors": learner.tensors(), "optimizer": learner.optimizer.state_dict(), "steps": learner.steps}
    torch.save(parts, content)
    return content.getvalue()


def load_state(learner: Learner, state: bytes) -> None:
    learner.load(**torch.load(io.BytesIO(state), map_location="cpu", weights_only=True))


def arrays(batches: Sequence[Batch], rows: slice) -> Batch:
    """These rows of K batches as one, whose fields are NumPy's arrays [K, rows, ...]."""

    def stack(*fields: Tensor) -> Any:
        return torch.stack([field[rows] for field in fields]).numpy()

    return map_states(stack, *batches)


def batch_of(batches: Batch, step: int) -> Batch:
    """The batch of this number, from `arrays`."""
    return map_states(lambda field: torch.from_numpy(field[step].copy()), batches)  # Ray's arrays are read-only
