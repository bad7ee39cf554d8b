"""`tree.select`, `tree.expand` and `tree.backup`, compiled for the CPU, one tree after another.

They do what the tensor versions in `tree`, `gumbel` and `puct` do, in the same order and in
float32; the comments on the formulas are there. One thread each: parallelism comes from running
several self-play streams, since the interpreter's lock is free while a kernel runs.

Two facts make sums over a node's actions needless. The q of an unvisited edge is 0. And the first
visit of a node other than the root creates it while each later one goes on through one of its
edges, so that those have one visit less in all than the edge that leads to it.
"""

from __future__ import annotations

import numpy as np

from alphazero.game import ILLEGAL
from alphazero.game.compilation import njit

GUMBEL, PUCT = 0, 1
_ILLEGAL = np.float32(ILLEGAL)
_ZERO, _ONE, _TINY = np.float32(0), np.float32(1), np.float32(1e-8)
_LOWEST = np.float32(-np.inf)


@njit(error_model="numpy", inline="always")
def _completed_q(b, node, prior, visits, q, raw_value, total, out):
    """Writes completed Q of every action to `out`."""
    mass, weighted = _ZERO, _ZERO
    for a in range(out.shape[0]):
        likely = prior[b, node, a]
        mass += likely if visits[b, node, a] > 0 else _ZERO
        weighted += likely * q[b, node, a]
    mixed = raw_value[b, node]
    if mass > _ZERO:
        mixed = (raw_value[b, node] + np.float32(total) * (weighted / mass)) / np.float32(total + 1)
    for a in range(out.shape[0]):
        known = q[b, node, a]
        out[a] = known if visits[b, node, a] > 0 else mixed


@njit(error_model="numpy", inline="always")
def _stretch(b, node, logits, q):
    """Maps q to [0, 1] between the least and the greatest of the legal actions, in place."""
    low, high = -_LOWEST, _LOWEST
    for a in range(q.shape[0]):
        if logits[b, node, a] != _ILLEGAL:
            low, high = min(low, q[a]), max(high, q[a])
    for a in range(q.shape[0]):
        q[a] = (q[a] - low) / max(high - low, _TINY)


@njit(error_model="numpy", inline="always")
def _argmax(x):
    best, top = 0, x[0]
    for a in range(1, x.shape[0]):
        here = x[a]
        better = here > top
        best = a if better else best
        top = here if better else top
    return best


@njit(error_model="numpy", inline="always")
def _scale(b, node, visits, c_visit, c_scale):
    """What sigma multiplies Q by."""
    most = visits[b, node, 0]
    for a in range(1, visits.shape[2]):
        most = max(most, visits[b, node, a])
    return (c_visit + np.float32(most)) * c_scale


@njit(error_model="numpy", inline="always")
def _halving_scores(b, logits, visits, gumbel, inherited, target, scale, score):
    """Makes of the Q of the root's actions their scores in sequential halving, in place."""
    for a in range(score.shape[0]):
        own = gumbel[b, a] + logits[b, 0, a] + scale * score[a]
        meant = (visits[b, 0, a] - inherited[b, a] == target) & (logits[b, 0, a] != _ILLEGAL)
        score[a] = own if meant else _LOWEST


@njit(error_model="numpy", inline="always")
def _improved_policy(b, node, logits, scale, score):
    """Makes of Q the improved policy times a number, in place, and returns the number."""
    top, normaliser = _LOWEST, _ZERO
    for a in range(score.shape[0]):
        score[a] = logits[b, node, a] + scale * score[a]
        top = max(top, score[a])
    for a in range(score.shape[0]):
        score[a] = np.exp(score[a] - top)
        normaliser += score[a]
    return normaliser


@njit(error_model="numpy", inline="always")
def _halving_action(
    b, logits, prior, visits, q, raw_value, total, gumbel, inherited, fresh, target, c_visit, c_scale, rescale, score
):  # fmt: skip
    """The root's action of sequential halving: the best of those with `target` visits.

    In a fresh tree either all of these have been visited or none, so what completes Q is the same for all.
    """
    if rescale or not fresh:
        _completed_q(b, 0, prior, visits, q, raw_value, total, score)
    else:
        for a in range(score.shape[0]):
            score[a] = q[b, 0, a]
    if rescale:
        _stretch(b, 0, logits, score)
    _halving_scores(b, logits, visits, gumbel, inherited, target, _scale(b, 0, visits, c_visit, c_scale), score)
    return _argmax(score)


@njit(error_model="numpy", inline="always")
def _gumbel_action(b, node, logits, prior, visits, q, raw_value, total, c_visit, c_scale, rescale, score):
    """The action where the improved policy is furthest ahead of the visits."""
    width = logits.shape[2]
    if total == 0:  # all completed Q are equal, so the improved policy is the prior
        for a in range(width):
            score[a] = prior[b, node, a]
        return _argmax(score)
    _completed_q(b, node, prior, visits, q, raw_value, total, score)
    if rescale:
        _stretch(b, node, logits, score)
    normaliser = _improved_policy(b, node, logits, _scale(b, node, visits, c_visit, c_scale), score)
    # pi'(a) - N(a) / (1 + sum N), times both denominators.
    count = np.float32(total + 1)
    for a in range(width):
        score[a] = score[a] * count - np.float32(visits[b, node, a]) * normaliser
    return _argmax(score)


@njit(error_model="numpy", inline="always")
def _puct_scores(b, node, logits, prior, visits, q, value, total, c_init, c_base, rescale, score):
    """Writes Q + U of every action to `score`."""
    width = logits.shape[2]
    mean, low, span = value[b, node], _ZERO, _ONE
    if rescale:
        low, high = mean, mean
        for a in range(width):
            if visits[b, node, a] > 0:
                low, high = min(low, q[b, node, a]), max(high, q[b, node, a])
        span = max(high - low, _TINY)
    count = np.float32(total + 1)
    exploration = (c_init + np.log((count + c_base + _ONE) / c_base)) * np.sqrt(count)
    for a in range(width):
        quality = ((q[b, node, a] if visits[b, node, a] > 0 else mean) - low) / span
        own = quality + exploration * prior[b, node, a] / np.float32(1 + visits[b, node, a])
        score[a] = own if logits[b, node, a] != _ILLEGAL else _LOWEST


@njit(error_model="numpy", inline="always")
def _proven_action(b, children, q, value, finished):
    """The first of a proven root's actions that is surely worth as much as the root."""
    for a in range(children.shape[2]):
        child = children[b, 0, a]
        # A sum of rewards may be rounded beyond the bounds, which the root's value is not.
        if child >= 0 and finished[b, child] and min(max(q[b, 0, a], -_ONE), _ONE) == value[b, 0]:
            return a
    return 0


@njit(error_model="numpy")
def select(
    children, logits, prior, visits, q, parent, parent_action, reward, discount, raw_value, value, finished,
    rule, c1, c2, rescale, gumbel, inherited, schedule, before, simulation, max_depth,
    parents, actions, places, depths, settled,
):  # fmt: skip
    """Writes node and action [B] of the edge to evaluate, and the node's place among all states.

    c1 and c2 are the rule's constants; `before` counts the simulations of which `inherited` [B, A] are the visits.
    """
    score = np.empty(logits.shape[2], np.float32)
    batch = logits.shape[0]
    for b in range(batch):
        node, action, depth, total = 0, 0, 0, simulation
        while True:
            if node == 0 and finished[b, 0]:
                action = _proven_action(b, children, q, value, finished)
            elif rule == PUCT:
                _puct_scores(b, node, logits, prior, visits, q, value, total, c1, c2, rescale, score)
                action = _argmax(score)
            elif node == 0:
                considered = 0
                for a in range(logits.shape[2]):
                    considered += logits[b, 0, a] != _ILLEGAL
                target = schedule[min(considered, schedule.shape[0] - 1), simulation - before]
                action = _halving_action(
                    b, logits, prior, visits, q, raw_value, total, gumbel, inherited, before == 0, target, c1, c2,
                    rescale, score,
                )  # fmt: skip
            else:
                action = _gumbel_action(b, node, logits, prior, visits, q, raw_value, total, c1, c2, rescale, score)
            depth += 1
            child = children[b, node, action]
            if child < 0 or finished[b, child] or depth == max_depth:
                break
            total = visits[b, node, action] - 1
            node = child
        parents[b], actions[b], places[b] = node, action, node * batch + b
        settled[b] = child >= 0 and finished[b, child]
        depths[b] = max(depths[b], depth)


@njit(error_model="numpy", inline="always")
def _softmax(b, node, logits, out):
    top = logits[b, node, 0]
    for a in range(1, logits.shape[2]):
        top = max(top, logits[b, node, a])
    normaliser = _ZERO
    for a in range(logits.shape[2]):
        out[b, node, a] = np.exp(logits[b, node, a] - top)
        normaliser += out[b, node, a]
    for a in range(logits.shape[2]):
        out[b, node, a] /= normaliser


@njit(error_model="numpy", inline="always")
def _write_policy(b, node, logits, prior, new_logits, legal):
    for a in range(logits.shape[2]):
        logits[b, node, a] = new_logits[b, a]
    for a in range(legal.shape[1]):
        if not legal[b, a]:
            logits[b, node, a] = _ILLEGAL
    _softmax(b, node, logits, prior)


@njit(error_model="numpy", inline="always")
def _edge_bounds(b, child, rewards, discounts, low, high):
    """Low and high bound of the edge that leads to this child."""
    one = rewards[b, child] + discounts[b, child] * low[b, child]
    other = rewards[b, child] + discounts[b, child] * high[b, child]
    one, other = min(max(one, -_ONE), _ONE), min(max(other, -_ONE), _ONE)
    return min(one, other), max(one, other)


@njit(error_model="numpy", inline="always")
def _tighten(b, node, children, logits, prior, rewards, discounts, finished, low, high, plies):
    """`solver.tighten` of one node. Returns whether anything changed that matters above it."""
    width = logits.shape[2]
    least, most = -_ONE, -_ONE
    for a in range(width):
        child = children[b, node, a]
        if child >= 0:
            edge_low, edge_high = _edge_bounds(b, child, rewards, discounts, low, high)
            least, most = max(least, edge_low), max(most, edge_high)
        elif logits[b, node, a] != _ILLEGAL:
            most = _ONE
    soonest, latest = np.int32(np.iinfo(np.int32).max), np.int32(0)
    for a in range(width):
        child = children[b, node, a]
        if child < 0:
            continue
        edge_low, edge_high = _edge_bounds(b, child, rewards, discounts, low, high)
        if finished[b, child] and edge_low == least:
            soonest, latest = min(soonest, plies[b, child] + 1), max(latest, plies[b, child] + 1)
        if edge_high <= least < most and node != 0:
            logits[b, node, a], prior[b, node, a] = _ILLEGAL, _ZERO
    proven = least == most and latest > 0
    changed = least != low[b, node] or most != high[b, node] or proven != finished[b, node]
    if proven:
        finished[b, node] = True
        plies[b, node] = soonest if least > _ZERO else latest
    low[b, node], high[b, node] = least, most
    return changed


@njit(error_model="numpy")
def expand_and_backup(
    children, logits, prior, visits, q, parent, parent_action, rewards, discounts, raw_value, value, finished,
    bounds, parents, actions, new_logits, new_value, reward, done, turned, legal, discount, simulation,
):  # fmt: skip
    """Writes the new nodes, and backs their values up to the roots.

    `legal` is [B, A], or [B, 0] where there is nothing to mask; `bounds` those of the tree, or None.
    """
    discount = np.float32(discount)
    for b in range(logits.shape[0]):
        above, edge = parents[b], actions[b]
        node = children[b, above, edge]
        settled = node >= 0 and finished[b, node]
        changed = not settled
        if not settled:
            if node < 0:
                node = simulation + 1
                children[b, above, edge] = node
            parent[b, node], parent_action[b, node] = above, edge
            rewards[b, node], finished[b, node] = reward[b], done[b]
            gain = _ZERO
            if done[b]:
                discounts[b, node] = _ZERO
            else:
                # A value changes sign exactly where the player to move changes: here, and nowhere else.
                discounts[b, node] = -discount if turned[b] else discount
                gain = new_value[b]
                _write_policy(b, node, logits, prior, new_logits, legal)
            raw_value[b, node] = value[b, node] = gain
            if bounds is not None and done[b]:
                bounds[0][b, node] = bounds[1][b, node] = _ZERO
        gain = value[b, node]
        while node != 0:
            above, edge = parent[b, node], parent_action[b, node]
            gain = rewards[b, node] + discounts[b, node] * gain
            count = simulation + 1 if above == 0 else visits[b, parent[b, above], parent_action[b, above]]
            if bounds is not None:
                low, high, plies = bounds
                if changed:
                    changed = _tighten(
                        b, above, children, logits, prior, rewards, discounts, finished, low, high, plies
                    )
                gain = min(max(gain, low[b, above]), high[b, above])
            value[b, above] = (value[b, above] * np.float32(count) + gain) / np.float32(count + 1)
            if bounds is not None:
                value[b, above] = min(max(value[b, above], bounds[0][b, above]), bounds[1][b, above])
            q[b, above, edge] = rewards[b, node] + discounts[b, node] * value[b, node]
            visits[b, above, edge] += 1
            node = above


@njit(error_model="numpy")
def decide(
    logits, prior, visits, q, raw_value, value, rule, c1, c2, rescale, gumbel, inherited,
    actions, policies, values, scores,
):  # fmt: skip
    """Writes action [B], policy [B, A], value [B] and scores [B, A] as `TreeSearch.decide` does for fresh trees."""
    batch, width = policies.shape
    known = np.empty(width, np.float32)
    for b in range(batch):
        total, most, best = 0, -1, 0
        for a in range(width):
            total += visits[b, 0, a]
            if logits[b, 0, a] != _ILLEGAL and visits[b, 0, a] > most:
                most, best = visits[b, 0, a], a
        score = scores[b]
        if rule == PUCT:
            _puct_scores(b, 0, logits, prior, visits, q, value, total, c1, c2, rescale, score)
            actions[b], values[b] = best, value[b, 0]
            for a in range(width):
                policies[b, a] = np.float32(visits[b, 0, a]) / np.float32(total)
        else:
            _completed_q(b, 0, prior, visits, q, raw_value, total, known)
            score[:] = known
            if rescale:
                _stretch(b, 0, logits, score)
            policies[b] = score
            scale = _scale(b, 0, visits, c1, c2)
            normaliser = _improved_policy(b, 0, logits, scale, policies[b])
            _halving_scores(b, logits, visits, gumbel, inherited, most, scale, score)
            actions[b], values[b] = _argmax(score), _ZERO
            for a in range(width):
                policies[b, a] /= normaliser
                values[b] += policies[b, a] * known[a]
