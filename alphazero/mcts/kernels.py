"""`tree.descend` and `tree.grow` compiled for the CPU, one tree after another.

They do what the tensor versions in `tree`, `gumbel` and `puct` do, in the same order and in
float32; the comments on the formulas are there. One thread each: parallelism comes from running
several self-play streams, since the interpreter's lock is free while a kernel runs.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from alphazero.mcts.tree import ILLEGAL

GUMBEL, PUCT = 0, 1
_ILLEGAL = np.float32(ILLEGAL)
_ZERO, _ONE, _TINY = np.float32(0), np.float32(1), np.float32(1e-8)
_LOWEST = np.float32(-np.inf)


@njit(nogil=True, cache=True, error_model="numpy")
def _sigma_of_completed_q(logits, prior, visits, q, raw_value, c_visit, c_scale, rescale, out):
    """Writes sigma(completed Q) of every action to `out`."""
    width = logits.shape[0]
    total, most = 0, 0
    mass, weighted = _ZERO, _ZERO
    for a in range(width):
        if visits[a] > 0:
            total += visits[a]
            most = max(most, visits[a])
            mass += prior[a]
            weighted += prior[a] * q[a]
    mixed = raw_value
    if mass > _ZERO:
        mixed = (raw_value + np.float32(total) * (weighted / mass)) / np.float32(total + 1)
    low, high = -_LOWEST, _LOWEST
    for a in range(width):
        out[a] = q[a] if visits[a] > 0 else mixed
        if logits[a] != _ILLEGAL:
            low, high = min(low, out[a]), max(high, out[a])
    scale = (c_visit + np.float32(most)) * c_scale
    for a in range(width):
        if rescale:
            out[a] = (out[a] - low) / max(high - low, _TINY)
        out[a] *= scale


@njit(nogil=True, cache=True, error_model="numpy")
def _halving_action(logits, prior, visits, q, raw_value, gumbel, target, c_visit, c_scale, rescale, score):
    """The root's action of sequential halving: the best of those with `target` visits."""
    _sigma_of_completed_q(logits, prior, visits, q, raw_value, c_visit, c_scale, rescale, score)
    best, best_score = 0, _LOWEST
    for a in range(logits.shape[0]):
        if logits[a] != _ILLEGAL and visits[a] == target:
            total = gumbel[a] + logits[a] + score[a]
            if total > best_score:
                best, best_score = a, total
    return best


@njit(nogil=True, cache=True, error_model="numpy")
def _gumbel_action(logits, prior, visits, q, raw_value, c_visit, c_scale, rescale, score):
    """The action where the improved policy is furthest ahead of the visits."""
    width = logits.shape[0]
    total = 0
    for a in range(width):
        total += visits[a]
    best = 0
    if total == 0:  # all completed Q are equal, so the improved policy is the prior
        for a in range(1, width):
            if prior[a] > prior[best]:
                best = a
        return best
    _sigma_of_completed_q(logits, prior, visits, q, raw_value, c_visit, c_scale, rescale, score)
    top = _LOWEST
    for a in range(width):
        score[a] += logits[a]
        top = max(top, score[a])
    normaliser = _ZERO
    for a in range(width):
        score[a] = np.exp(score[a] - top)
        normaliser += score[a]
    best_score = _LOWEST
    for a in range(width):
        ahead = score[a] / normaliser - np.float32(visits[a]) / np.float32(total + 1)
        if ahead > best_score:
            best, best_score = a, ahead
    return best


@njit(nogil=True, cache=True, error_model="numpy")
def _puct_action(logits, prior, visits, q, value, c_init, c_base, rescale):
    """The action with the highest Q + U."""
    width = logits.shape[0]
    total = 1
    low, high = value, value
    for a in range(width):
        total += visits[a]
        if visits[a] > 0:
            low, high = min(low, q[a]), max(high, q[a])
    count = np.float32(total)
    exploration = (c_init + np.log((count + c_base + _ONE) / c_base)) * np.sqrt(count)
    best, best_score = 0, _LOWEST
    for a in range(width):
        if logits[a] == _ILLEGAL:
            continue
        quality = q[a] if visits[a] > 0 else value
        if rescale:
            quality = (quality - low) / max(high - low, _TINY)
        score = quality + exploration * prior[a] / np.float32(1 + visits[a])
        if score > best_score:
            best, best_score = a, score
    return best


@njit(nogil=True, cache=True, error_model="numpy")
def descend(
    children, logits, prior, visits, q, parent, parent_action, reward, discount, raw_value, value, finished,
    rule, c1, c2, rescale, gumbel, considered, schedule, simulation, max_depth, parents, actions, depths,
):  # fmt: skip
    """Writes node and action [B] of the edge to evaluate; c1 and c2 are the rule's constants."""
    score = np.empty(logits.shape[2], np.float32)
    for b in range(logits.shape[0]):
        node, action, depth = 0, 0, 0
        while True:
            here = logits[b, node], prior[b, node], visits[b, node], q[b, node]
            if rule == PUCT:
                action = _puct_action(*here, value[b, node], c1, c2, rescale)
            elif node == 0:
                target = schedule[considered[b], simulation]
                action = _halving_action(*here, raw_value[b, node], gumbel[b], target, c1, c2, rescale, score)
            else:
                action = _gumbel_action(*here, raw_value[b, node], c1, c2, rescale, score)
            depth += 1
            child = children[b, node, action]
            if child < 0 or finished[b, child] or depth == max_depth:
                break
            node = child
        parents[b], actions[b] = node, action
        depths[b] = max(depths[b], depth)


@njit(nogil=True, cache=True, error_model="numpy")
def grow(
    children, logits, prior, visits, q, parent, parent_action, rewards, discounts, raw_value, value, finished,
    parents, actions, new_logits, new_prior, new_value, reward, discount, done, simulation, place,
):  # fmt: skip
    """Writes the new nodes, backs their values up, and gives their `place` [B] among all states."""
    nodes, width = logits.shape[1], logits.shape[2]
    for b in range(logits.shape[0]):
        above, edge = parents[b], actions[b]
        node = children[b, above, edge]
        if node < 0:
            node = simulation + 1
            children[b, above, edge] = node
        place[b] = b * nodes + node
        parent[b, node], parent_action[b, node] = above, edge
        rewards[b, node], finished[b, node] = reward[b], done[b]
        discounts[b, node] = _ZERO if done[b] else discount[b]
        gain = _ZERO if done[b] else new_value[b]
        raw_value[b, node] = value[b, node] = gain
        for a in range(width):
            logits[b, node, a], prior[b, node, a] = new_logits[b, a], new_prior[b, a]
        while node != 0:
            above, edge = parent[b, node], parent_action[b, node]
            gain = rewards[b, node] + discounts[b, node] * gain
            count = 1
            for a in range(width):
                count += visits[b, above, a]
            value[b, above] = (value[b, above] * np.float32(count) + gain) / np.float32(count + 1)
            q[b, above, edge] = rewards[b, node] + discounts[b, node] * value[b, node]
            visits[b, above, edge] += 1
            node = above
