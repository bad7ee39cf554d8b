"""Elo ratings of players from the results of their matches.

The model is Bradley and Terry's, "Rank analysis of incomplete block designs" (Biometrika 1952): player i takes
a point from player j with probability

    p_ij = gamma_i / (gamma_i + gamma_j),    rating_i = 400 log10(gamma_i) + constant,

which is Elo's expected score ("The rating of chessplayers, past and present", 1978): 400 points more are odds of
ten to one. A draw counts as half a win for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphazero.arena.match import Z95, Tally

Array = NDArray[np.floating]

ELO = 400 / math.log(10)  # Elo points of a log-odds

TOLERANCE = 1e-9  # how far each player's expected points may be from those it has, as a share of its games


class Rating(NamedTuple):
    """A player's place among others.

    rating:    in Elo points above the anchor.
    low, high: a 95 % interval of that difference; both are 0 for the anchor itself.
    games:     number of its games.
    points:    its share of the points, in [0, 1].
    """

    player: str
    rating: float
    low: float
    high: float
    games: int
    points: float


def ratings(
    matches: Sequence[tuple[str, str, Tally]], *, anchor: str | None = None, virtual_draws: float = 1.0
) -> list[Rating]:
    """Ratings of all players of the matches (player, opponent, the player's tally), the best first.

    anchor:        the player whose rating is 0; without one the mean of all ratings is.
    virtual_draws: draws that are added to the games of each pair of players who met.

    Without virtual draws this is the maximum of the likelihood, which does not exist if some players only ever won
    against the others. With them it always does (after Conner and Grant, "An extension of Zermelo's model for
    ranking by paired comparisons", European Journal of Applied Mathematics 2000, who add a small share of a win to
    both sides). They pull every pair together a little: with one, 100 wins in 100 games are 921 points, no more,
    and 75 wins are 189 instead of 191. For two players, one virtual draw is Jeffreys' prior, and takes away the
    first-order bias of the maximum (Firth, "Bias reduction of maximum likelihood estimates", Biometrika 1993).

    The intervals are rating +- 1.96 standard errors from the inverse of the Fisher information at the maximum,
    virtual draws included; the maximum is asymptotically normal with that covariance, for many players too (Simons
    and Yao, "Asymptotics when the number of parameters tends to infinity in the Bradley-Terry model for paired
    comparisons", Annals of Statistics 1999). As in `MatchResult.interval`, draws vary less than the model says, and
    make the intervals wider than they need be. The openings that pairs of games share are left out.

    ValueError if there is no maximum, above all if the matches do not connect all players.
    """
    if virtual_draws < 0:
        raise ValueError(f"virtual_draws must be at least 0, not {virtual_draws:g}")
    players = list(dict.fromkeys(name for player, opponent, _ in matches for name in (player, opponent)))
    if anchor is not None and anchor not in players:
        raise ValueError(f"the anchor {anchor!r} played no match; players: {', '.join(players) or 'none'}")
    place = {player: number for number, player in enumerate(players)}
    points = np.zeros((len(players), len(players)))  # of row against column
    for player, opponent, tally in matches:
        if player == opponent:
            raise ValueError(f"a match of {player!r} against itself says nothing")
        points[place[player], place[opponent]] += tally.wins + tally.draws / 2
        points[place[opponent], place[player]] += tally.losses + tally.draws / 2
    games = points + points.T
    prior = np.where(games > 0, virtual_draws / 2, 0.0)
    log_gamma = _maximum(points + prior, players)
    covariance = np.zeros_like(games)
    covariance[1:, 1:] = np.linalg.inv(_information(games + 2 * prior, log_gamma))
    own = np.eye(len(players))
    # Of each player with the anchor, or with the mean: a row each.
    contrast = own - (1 / len(players) if anchor is None else own[place[anchor]])
    rating = ELO * contrast @ log_gamma
    margin = Z95 * ELO * np.sqrt(((contrast @ covariance) * contrast).sum(1))
    played = games.sum(1)
    columns = rating, rating - margin, rating + margin, played.astype(int), points.sum(1) / played
    rows = zip(players, *(column.tolist() for column in columns), strict=True)
    return sorted((Rating(*row) for row in rows), key=lambda rated: -rated.rating)


def _maximum(points: Array, players: Sequence[str]) -> Array:
    """[n], log gamma, the first 0, where the likelihood of points [n, n], virtual ones among them, is largest.

    There is one such place if and only if from every player a chain of points leads to every other (Hunter, "MM
    algorithms for generalized Bradley-Terry models", Annals of Statistics 2004, assumption 1). The likelihood is
    concave in log gamma, and at its maximum every player has the points that were to be expected (Zermelo 1929). The
    shares that are missing make least squares whose Jacobian, the information, is regular: no other minimum exists.
    Hunter's own steps need no matrices, but crawl where results are lopsided: a chain of 20 players, each of whom
    beat the next in all of 200 games, takes more than 100,000 of them, and 18 of these.
    """
    from scipy import optimize  # only where players are rated: it takes its time to load

    _check_connected(points, players)
    games, won = points + points.T, points.sum(1)
    total = games.sum(1)

    def surplus(log_gamma: Array) -> Array:
        expected = (games * _win_probability(np.append(0, log_gamma))).sum(1)
        return np.asarray((expected - won) / total)[1:]

    def jacobian(log_gamma: Array) -> Array:
        return np.asarray(_information(games, np.append(0, log_gamma)) / total[1:, None])

    exact = {"xtol": 1e-14, "ftol": 1e-14, "maxiter": 100_000}
    found = optimize.root(surplus, np.zeros(len(players) - 1), jac=jacobian, method="lm", options=exact).x
    if not (abs(surplus(found)) <= TOLERANCE).all():
        raise ValueError("the results are too lopsided to rate the players by")
    return np.append(0, found)


def _win_probability(log_gamma: Array) -> Array:
    """[n, n], p_ij; 1/2 on the diagonal."""
    from scipy import special

    return np.asarray(special.expit(log_gamma[:, None] - log_gamma))


def _information(games: Array, log_gamma: Array) -> Array:
    """[n - 1, n - 1], the Fisher information of log gamma with the first player's held.

    It is I_ij = -N_ij p_ij p_ji and I_ii = -sum_j I_ij. A constant on all of log gamma changes nothing, so one of
    them has to be held; the variance of a difference does not depend on which.
    """
    probability = _win_probability(log_gamma)
    weight = games * probability * probability.T
    return np.asarray(np.diag(weight.sum(1)) - weight)[1:, 1:]


def _check_connected(points: Array, players: Sequence[str]) -> None:
    """ValueError if some players took no point from any of the others."""
    from scipy.sparse import csgraph

    if not players:
        raise ValueError("there are no matches to rate players by")
    for start in range(len(players)):
        reached = csgraph.breadth_first_order(points > 0, start, return_predecessors=False)
        group = [players[number] for number in sorted(reached)]
        if others := [player for player in players if player not in group]:
            raise ValueError(
                f"{', '.join(group)} took no point from {', '.join(others)}; ratings need matches that connect all "
                "players, and points taken both ways or virtual draws"
            )
