"""Elo ratings against closed forms, scipy's maximum of the same likelihood, and simulated players."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats

from alphazero.arena.elo import Rating, ratings
from alphazero.arena.match import Tally

ELO = 173.717793  # 400 / ln 10: ten to one is 400 points
Z = float(stats.norm.ppf(0.975))

Matches = list[tuple[str, str, Tally]]


def by_name(rated: list[Rating]) -> dict[str, Rating]:
    return {rating.player: rating for rating in rated}


@pytest.mark.parametrize("virtual", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("tally", [Tally(60, 20, 20), Tally(1, 0, 9), Tally(1, 2, 0)])
def test_two_players_have_a_closed_form(tally: Tally, virtual: float) -> None:
    """The log-odds of their points, and its usual variance, with half of the virtual draws on either side."""
    won, lost = (result + (tally.draws + virtual) / 2 for result in (tally.wins, tally.losses))
    rating, deviation = ELO * math.log(won / lost), ELO * math.sqrt(1 / won + 1 / lost)
    rated = by_name(ratings([("a", "b", tally)], anchor="b", virtual_draws=virtual))
    assert rated["a"][1:4] == pytest.approx((rating, rating - Z * deviation, rating + Z * deviation))
    assert rated["a"][4:] == (tally.games, pytest.approx((tally.wins + tally.draws / 2) / tally.games))
    assert rated["b"] == ("b", 0, 0, 0, tally.games, pytest.approx((tally.losses + tally.draws / 2) / tally.games))
    # About their mean both are half as far, and known twice as well.
    centred = ratings([("a", "b", tally)], virtual_draws=virtual)
    half = (abs(rating) / 2, abs(rating) / 2 - Z * deviation / 2, abs(rating) / 2 + Z * deviation / 2)
    assert [each.player for each in centred] == sorted("ab", reverse=rating < 0)
    assert centred[0][1:4] == pytest.approx(half)
    assert centred[1][1:4] == pytest.approx((-half[0], -half[2], -half[1]))


def test_a_chain_of_whitewashes_adds_up() -> None:
    """Without a circle of matches every step is a match of two by itself, and so are the variances."""
    players = [f"p{number:02}" for number in range(20)]
    matches = [(better, worse, Tally(200, 0, 0)) for better, worse in pairwise(players)]
    step, variance = ELO * math.log(200.5 / 0.5), ELO**2 * (1 / 200.5 + 1 / 0.5)
    for number, rated in enumerate(ratings(matches, anchor="p00")):
        margin = Z * math.sqrt(number * variance)
        assert rated[:4] == (
            players[number],
            *map(pytest.approx, (-number * step, -number * step - margin, -number * step + margin)),
        )


def drawn_matches(seed: int, players: int) -> Matches:
    """A ring, so that all are connected, and a few more, of all sizes, with draws; everyone takes some points."""
    rng = np.random.default_rng(seed)
    pairs = [(number, (number + 1) % players) for number in range(players)]
    pairs += [tuple(rng.choice(players, 2, replace=False)) for _ in range(players // 2)]
    return [
        (f"p{i}", f"p{j}", Tally(*(1 + rng.multinomial(rng.integers(1, 200), rng.dirichlet((1, 1, 1))))))
        for i, j in pairs
    ]


def negative_log_likelihood(
    strengths: NDArray[np.float64], names: list[str], matches: Matches, virtual: float
) -> float:
    """One match after another; the first player's log-strength is 0, and each pair that met drew a little more."""
    log_gamma = dict(zip(names, [0.0, *strengths], strict=True))
    met = {frozenset((player, opponent)) for player, opponent, _ in matches}
    halves = [(*sorted(pair), virtual / 2, virtual / 2) for pair in met]
    halves += [(i, j, tally.wins + tally.draws / 2, tally.losses + tally.draws / 2) for i, j, tally in matches]
    total = 0.0
    for i, j, won, lost in halves:
        total += won * math.log1p(math.exp(log_gamma[j] - log_gamma[i]))
        total += lost * math.log1p(math.exp(log_gamma[i] - log_gamma[j]))
    return total


def hessian(
    function: Callable[[NDArray[np.float64]], float], at: NDArray[np.float64], step: float = 1e-3
) -> NDArray[np.float64]:
    """By central differences."""
    steps = step * np.eye(len(at))
    return np.array(
        [
            [
                (function(at + a + b) - function(at + a - b) - function(at - a + b) + function(at - a - b))
                / (4 * step**2)
                for a in steps
            ]
            for b in steps
        ]
    )


@pytest.mark.parametrize("virtual", [0.0, 1.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_maximum_and_the_intervals_are_those_of_the_likelihood(seed: int, virtual: float) -> None:
    matches = drawn_matches(seed, players=6)
    names = [f"p{number}" for number in range(6)]

    def objective(strengths: NDArray[np.float64]) -> float:
        return negative_log_likelihood(strengths, names, matches, virtual)

    found = optimize.minimize(objective, np.zeros(5), method="BFGS", options={"gtol": 1e-6})
    deviations = np.sqrt(np.diag(np.linalg.inv(hessian(objective, found.x))))
    rated = by_name(ratings(matches, anchor="p0", virtual_draws=virtual))
    assert rated["p0"][1:4] == (0, 0, 0)
    for name, strength, deviation in zip(names[1:], found.x, deviations, strict=True):
        assert rated[name].rating == pytest.approx(ELO * strength, abs=0.01)
        assert rated[name].high - rated[name].rating == pytest.approx(Z * ELO * deviation, rel=1e-4)
        assert rated[name].rating - rated[name].low == pytest.approx(Z * ELO * deviation, rel=1e-4)
        tallies = [tally if name == i else Tally(*tally[::-1]) for i, j, tally in matches if name in {i, j}]
        assert rated[name].games == sum(tally.games for tally in tallies)
        assert rated[name].points * rated[name].games == pytest.approx(sum(t.wins + t.draws / 2 for t in tallies))


def test_only_differences_depend_on_the_anchor() -> None:
    matches = drawn_matches(5, players=7)
    centred, anchored = by_name(ratings(matches)), by_name(ratings(matches, anchor="p3"))
    assert sum(each.rating for each in centred.values()) == pytest.approx(0, abs=1e-6)
    for name, rated in anchored.items():
        assert rated.rating == pytest.approx(centred[name].rating - centred["p3"].rating)
    order = [each.rating for each in ratings(matches)]
    assert order == sorted(order, reverse=True)


def test_how_matches_are_split_or_named_does_not_matter() -> None:
    whole = ratings([("a", "b", Tally(5, 2, 3)), ("b", "c", Tally(5, 4, 3))])
    parts = [
        ("b", "a", Tally(3, 1, 0)),
        ("c", "b", Tally(3, 4, 5)),
        ("a", "b", Tally(5, 1, 0)),
        ("a", "c", Tally(0, 0, 0)),
    ]
    for one, other in zip(whole, ratings(parts), strict=True):
        assert one.player == other.player
        assert one[1:] == pytest.approx(other[1:])


# Won by the first, lost by it. Undamped, Newton's method does not settle on the one, and leaves the other for infinity.
LOPSIDED = {
    "swings": [(1, 0, 1, 0), (2, 1, 0, 10**6), (3, 2, 1000, 0), (2, 3, 0, 10**6), (1, 0, 10**6, 0), (0, 3, 1, 0)],
    "escapes": [
        *[(1, 0, 1000, 0), (2, 0, 0, 10**6), (3, 1, 0, 10), (4, 3, 10**6, 0), (5, 0, 0, 10)],
        *[(2, 4, 1, 0), (2, 5, 0, 10), (3, 0, 0, 1), (2, 0, 0, 10**6)],
    ],
}


@pytest.mark.parametrize("results", LOPSIDED.values(), ids=LOPSIDED)
def test_at_the_maximum_everyone_has_the_expected_points(
    results: list[tuple[int, int, int, int]],
) -> None:
    """Zermelo 1929: the likelihood is concave, and this is its gradient."""
    rated = by_name(ratings([(str(i), str(j), Tally(won, 0, lost)) for i, j, won, lost in results]))
    surplus: dict[int, float] = dict.fromkeys({i for i, *_ in results} | {j for _, j, *_ in results}, 0.0)
    met = [(i, j, 0.5, 0.5) for i, j in {tuple(sorted((i, j))) for i, j, *_ in results}]
    for i, j, won, lost in [*results, *met]:
        share = 1 / (1 + 10 ** ((rated[str(j)].rating - rated[str(i)].rating) / 400))
        surplus[i] += won - share * (won + lost)
        surplus[j] += lost - (1 - share) * (won + lost)
    games = {number: rated[str(number)].games for number in surplus}
    assert all(abs(more) <= 1e-7 * games[number] for number, more in surplus.items())


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Each difference from the anchor by itself, in 4,000 round robins of 60 games a pair."""
    truth = {"a": 0.0, "b": 120.0, "c": -150.0, "d": 300.0}
    rng, rounds = np.random.default_rng(4), 4000
    held = dict.fromkeys(truth, 0)
    for _ in range(rounds):
        wins = {
            (i, j): int(rng.binomial(60, 1 / (1 + 10 ** ((truth[j] - truth[i]) / 400))))
            for i, j in combinations(truth, 2)
        }
        for rated in ratings([(i, j, Tally(won, 0, 60 - won)) for (i, j), won in wins.items()], anchor="a"):
            held[rated.player] += rated.low <= truth[rated.player] <= rated.high
    assert held.pop("a") == rounds
    tolerance = 4 * math.sqrt(0.95 * 0.05 / rounds)
    assert all(abs(count / rounds - 0.95) < tolerance for count in held.values()), held


WON, DRAWN = Tally(3, 0, 0), Tally(0, 1, 0)


@pytest.mark.parametrize(
    ("matches", "options", "complaint"),
    [
        ([], {}, "there are no matches"),
        (
            [("a", "b", WON), ("c", "d", DRAWN)],
            {},
            "a, b took no point from c, d; ratings need matches that connect all",
        ),
        ([("a", "b", WON), ("b", "c", Tally(0, 0, 0))], {}, "a, b took no point from c"),
        ([("a", "b", WON), ("b", "c", DRAWN)], {"virtual_draws": 0}, "b, c took no point from a; .* or virtual draws"),
        ([("a", "a", WON)], {}, "a match of 'a' against itself"),
        ([("a", "b", WON)], {"anchor": "c"}, "the anchor 'c' played no match; players: a, b"),
        ([("a", "b", WON)], {"virtual_draws": -1}, "virtual_draws must be at least 0, not -1"),
    ],
)
def test_matches_that_cannot_be_rated_are_refused(matches: Matches, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ratings(matches, **options)
