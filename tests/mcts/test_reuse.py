"""A search that goes on with an earlier one's tree: nothing is lost, and sequential halving is fair all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from alphazero.config import SearchConfig
from alphazero.game import Game, State, take
from alphazero.mcts.evaluator import UniformEvaluator
from alphazero.mcts.search import search, search_trees
from alphazero.mcts.timed import search_by_clock
from alphazero.mcts.tree import UNVISITED, Tree
from alphazero.mcts.tree_search import TreeSearch
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.evaluators import CountingEvaluator, ScrambledEvaluator
from tests.mcts.test_kernels import assert_the_same
from tests.positions import played, tic_tac_toe_board
from tests.stubs import Drift

CONFIGS = {
    "gumbel": SearchConfig(simulations=100),
    "gumbel_rescaled": SearchConfig(simulations=100, rescale_q=True, c_scale=0.1),
    "gumbel_solver": SearchConfig(simulations=100, solver=True),
    "puct": SearchConfig(algorithm="puct", simulations=100),
}
SOFT = {"gumbel_soft": SearchConfig(simulations=100, c_scale=0.02)}  # where Q decides less, its scale matters more


def two_moves_on(game: Game, found: TreeSearch) -> State:
    """The position behind the most visited line of two moves."""
    tree, node = found.tree, 0
    for _ in range(2):
        node = int(tree.children[0, node, int(tree.visits[0, node].argmax())])
    return take(tree.states, torch.tensor([node]))


def gone_on(name: str, *, compiled: bool, more: int = 50) -> tuple[TreeSearch, TreeSearch, Tree]:
    """A search, the one that goes on with it two moves later, and what that began with."""
    game, config = ConnectFour(), (CONFIGS | SOFT)[name].without_noise()
    evaluator, generator = ScrambledEvaluator(game), torch.Generator()
    first = search_trees(evaluator, game, played("4453"), config, generator, compiled=compiled)
    later = two_moves_on(game, first)
    begun = first.below(later)
    assert begun is not None
    second = search_trees(
        evaluator, game, later, replace(config, simulations=more), generator, compiled=compiled, begun=begun
    )
    return first, second, begun


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", CONFIGS)
def test_what_lies_below_is_kept_and_searched_further(name: str, compiled: bool) -> None:
    first, second, begun = gone_on(name, compiled=compiled)
    inherited = begun.visits[:, 0]
    assert int(inherited.sum()) > 5
    assert second.before == int(inherited.sum())
    result = second.result()
    assert int(result.visits.sum()) == second.before + 50 or bool(result.proven)
    assert (result.visits >= inherited).all()
    # Every node is that of the position which it was before, with the same figures but for those of new visits.
    tree, known = second.tree, {tuple(int(field[n]) for field in first.tree.states): n for n in range(101)}
    for node in range(1, begun.children.shape[1]):
        before = known[tuple(int(field[node]) for field in tree.states)]
        assert float(tree.raw_value[0, node]) == float(first.tree.raw_value[0, before])
        assert int(tree.visits[0, node].sum()) >= int(first.tree.visits[0, before].sum())


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", ["gumbel", "puct"])
def test_every_value_is_a_mean_over_what_lies_below_also_then(name: str, compiled: bool) -> None:
    tree = gone_on(name, compiled=compiled)[1].tree
    for node in range(tree.children.shape[1]):
        visits, q = tree.visits[0, node], tree.q[0, node]
        total = tree.raw_value[0, node] + (visits * q).sum()
        torch.testing.assert_close(tree.value[0, node], total / (1 + visits.sum()), rtol=0, atol=4e-6)
        for action in range(7):
            child = int(tree.children[0, node, action])
            assert (child == UNVISITED) == (int(visits[action]) == 0)
            if child != UNVISITED:
                assert (int(tree.parent[0, child]), int(tree.parent_action[0, child])) == (node, action)
                below = int(tree.visits[0, child].sum())
                assert int(visits[action]) == 1 + below or (below == 0 and bool(tree.finished[0, child]))


@pytest.mark.parametrize("name", CONFIGS | SOFT)
def test_kernels_and_tensors_agree_on_it(name: str) -> None:
    compiled, tensors = (gone_on(name, compiled=kernels)[1].result() for kernels in (True, False))
    assert_the_same(compiled, tensors)


def test_no_recording_of_a_fresh_search_stands_for_it() -> None:
    game, config = ConnectFour(), CONFIGS["gumbel"].without_noise()
    evaluator, generator = UniformEvaluator(game), torch.Generator()
    first = search_trees(evaluator, game, played("4453"), config, generator)
    later = two_moves_on(game, first)
    begun, config = first.below(later), replace(config, simulations=20)
    assert begun is not None
    found = search(evaluator, game, later, config, generator, begun=begun, recorded=True)
    assert int(found.visits.sum()) == 20 + int(begun.visits[0, 0].sum())


def test_new_visits_are_halved_as_in_a_fresh_search() -> None:
    _, second, begun = gone_on("gumbel", compiled=True)
    new = (second.result().visits - begun.visits[:, 0])[0].sort(descending=True).values.tolist()
    fresh = search_trees(
        ScrambledEvaluator(ConnectFour()),
        ConnectFour(),
        played("4453"),
        replace(CONFIGS["gumbel"].without_noise(), simulations=50),
        torch.Generator(),
    )
    assert new == fresh.result().visits[0].sort(descending=True).values.tolist()
    assert len(set(new)) >= 3


def test_another_position_has_nothing_below() -> None:
    game = ConnectFour()
    found = search_trees(
        ScrambledEvaluator(game), game, played("4453"), CONFIGS["gumbel"], torch.Generator().manual_seed(0)
    )
    assert found.below(played("123123")) is None
    assert found.below(played("4453")) is None  # the same position: a search of its own
    assert found.below(game.initial(1)) is None  # as which room that is not used looks
    drift = Drift()
    drifted = search_trees(
        UniformEvaluator(drift, samples=4), drift, drift.initial(1), CONFIGS["gumbel"], torch.Generator()
    )
    assert drifted.below(two_moves_on(drift, drifted)) is None  # a root draws its actions anew
    both = search_trees(
        ScrambledEvaluator(game), game, game.initial(2), CONFIGS["gumbel"], torch.Generator().manual_seed(0)
    )
    assert both.below(played("44")) is None


def test_of_a_search_that_has_reached_its_depth_nothing_is_kept() -> None:
    """What is visited again there without being gone beyond would count wrongly as an inner node."""
    game, evaluator = ConnectFour(), ScrambledEvaluator(ConnectFour())
    for depth in (4, 40):
        config = replace(CONFIGS["puct"].without_noise(), max_depth=depth)
        found = search_trees(evaluator, game, played("4453"), config, torch.Generator())
        assert (int(found.depth) == depth) == (depth == 4)
        assert (found.below(two_moves_on(game, found)) is None) == (depth == 4)


def test_by_the_clock_it_goes_on_as_well() -> None:
    game, config = TicTacToe(), SearchConfig(simulations=1 << 20).without_noise()
    evaluator = CountingEvaluator(ScrambledEvaluator(game))

    def thought(states: State, ticks: int, begun: Tree | None = None) -> TreeSearch:
        times = iter(range(ticks + 1))
        return search_by_clock(
            evaluator, game, states, config, torch.Generator(), lambda: next(times) / ticks, begun=begun
        )

    first = thought(game.initial(1), 1500)
    later = two_moves_on(game, first)
    begun, asked = first.below(later), evaluator.evaluations
    assert begun is not None
    second = thought(later, 1500, begun)
    assert int(second.result().visits.sum()) == 1500 + int(begun.visits[0, 0].sum())
    more = evaluator.evaluations - asked
    assert thought(later, 1500).before == 0
    assert 2 * more < evaluator.evaluations - asked  # a search from nothing asks again what is known


def test_a_root_that_was_an_inner_node_gets_its_actions_back() -> None:
    """Of inner nodes the solver leaves out what cannot be best; at the root all actions are ranked."""
    game, config = TicTacToe(), replace(CONFIGS["gumbel_solver"].without_noise(), simulations=300)
    evaluator = ScrambledEvaluator(game)
    first = search_trees(evaluator, game, tic_tac_toe_board("x . . / . o . / . . ."), config, torch.Generator())
    later = two_moves_on(game, first)
    begun = first.below(later)
    assert begun is not None
    assert begun.prior[0, 0][game.legal(later)[0]].eq(0).any()
    second = search_trees(evaluator, game, later, config, torch.Generator(), begun=begun)
    assert second.tree.prior[0, 0][game.legal(later)[0]].gt(0).all()
    assert game.legal(later)[0, second.result().action]
