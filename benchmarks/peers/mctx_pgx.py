"""The work of benchmarks/speed.py done by mctx and pgx. Importing it needs the extra `peers`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import pgx
import torch
from pgx.experimental import auto_reset

from alphazero.config import SearchConfig
from alphazero.network.architectures import InferenceModule, ResidualNetwork


def mctx_work(
    batch: int, simulations: int, module: InferenceModule | None = None, dtype: str = "float32"
) -> Callable[[], int]:
    """Self-play of mctx's Gumbel AlphaZero on pgx's connect-four: search, move, restart finished games.

    Each call makes a move in every game and returns how many simulations that took. `module`: the
    network to reproduce, computed in `dtype`; None: uniform priors and values of 0.
    """

    env = pgx.make("connect_four")
    evaluate = jax_network(module, dtype) if module else jax_uniform
    config = SearchConfig()
    q_transform = partial(
        mctx.qtransform_completed_by_mix_value,
        value_scale=config.c_scale,
        maxvisit_init=config.c_visit,
        rescale_values=False,
    )

    def evaluated(state: Any) -> Any:
        logits, value = evaluate(state.observation)
        return jnp.where(state.legal_action_mask, logits, jnp.finfo(logits.dtype).min), value

    def recurrent(_: Any, key: Any, action: Any, state: Any) -> Any:
        del key
        mover = state.current_player
        state = jax.vmap(env.step)(state, action)
        logits, value = evaluated(state)
        output = mctx.RecurrentFnOutput(
            reward=state.rewards[jnp.arange(batch), mover],
            discount=jnp.where(state.terminated, 0.0, -1.0),
            prior_logits=logits,
            value=jnp.where(state.terminated, 0.0, value),
        )
        return output, state

    @jax.jit
    def move(state: Any, key: Any) -> Any:
        searching, restarting = jax.random.split(key)
        logits, value = evaluated(state)
        found = mctx.gumbel_muzero_policy(
            (),
            searching,
            mctx.RootFnOutput(prior_logits=logits, value=value, embedding=state),
            recurrent,
            simulations,
            invalid_actions=~state.legal_action_mask,
            qtransform=q_transform,
            max_num_considered_actions=config.considered_actions,
        )
        step = jax.vmap(auto_reset(env.step, env.init))
        return step(state, found.action, jax.random.split(restarting, batch)), found.action_weights

    now = {"state": jax.jit(jax.vmap(env.init))(jax.random.split(jax.random.key(0), batch)), "key": jax.random.key(1)}

    def work() -> int:
        now["key"], key = jax.random.split(now["key"])
        now["state"], _ = jax.block_until_ready(move(now["state"], key))
        return batch * simulations

    return work


def jax_uniform(observation: Any) -> Any:

    return jnp.zeros((observation.shape[0], 7)), jnp.zeros(observation.shape[0])


def jax_network(module: InferenceModule, dtype: str) -> Callable[[Any], Any]:
    """The residual network in jax: observation [B, 6, 7, 2] to logits and value, normalisation folded in as in ours."""

    ours = module.network
    assert isinstance(ours, ResidualNetwork)

    def convolution(layer: Any) -> Any:  # torch's [out, in, height, width] to jax's
        return array(layer.weight.permute(2, 3, 1, 0)), array(layer.bias)

    def array(tensor: torch.Tensor) -> Any:
        return jnp.asarray(np.asarray(tensor.detach()), dtype)

    def linear(layer: Any) -> Any:
        return array(layer.weight.T), array(layer.bias)

    stem, policy_conv, value_conv = (convolution(layer) for layer in (ours.stem, ours.policy_conv, ours.value_conv))
    blocks = [(convolution(block.conv1), convolution(block.conv2)) for block in ours.blocks]
    policy, hidden, outcome = (linear(layer) for layer in (ours.policy, ours.value_hidden, ours.value))

    def conv(x: Any, layer: Any) -> Any:
        weight, bias = layer
        return (
            jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias
        )

    def flat(x: Any) -> Any:  # channels first, as in torch
        return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)

    def evaluate(observation: Any) -> Any:
        x = jax.nn.relu(conv(observation.astype(dtype), stem))
        for first, second in blocks:
            x = jax.nn.relu(x + conv(jax.nn.relu(conv(x, first)), second))
        logits = flat(jax.nn.relu(conv(x, policy_conv))) @ policy[0] + policy[1]
        value = jax.nn.relu(flat(jax.nn.relu(conv(x, value_conv))) @ hidden[0] + hidden[1]) @ outcome[0] + outcome[1]
        chances = jax.nn.softmax(value.astype("float32"))
        return logits.astype("float32"), chances[:, 0] - chances[:, 2]

    return evaluate
