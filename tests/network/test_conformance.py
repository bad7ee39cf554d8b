"""Each promise that a network of the user's own breaks is named in one line; those that keep all of them pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from alphazero.config import Config
from alphazero.network.conformance import check_own_network
from alphazero.runs.configuration import make_config
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.stubs import Drift

PLAIN: dict[str, Any] = {"self_play": {"engine": "onnx"}, "learner": {"precision": "float32"}}


def configured(kind: str, *, network: dict[str, Any] | None = None, **sections: Any) -> Config:
    fields = {**PLAIN, **sections, "network": {"kind": f"tests.own_networks:{kind}", **(network or {})}}
    return make_config(fields, source="test")


@pytest.mark.parametrize("game", [TicTacToe(), ConnectFour()], ids=lambda game: game.name)
@pytest.mark.parametrize(
    "kind", ["Plain", "Foreseeing", "Normed", "Varied", "Nameless", "Precise", "Normed1d", "Looking"]
)
def test_a_network_that_keeps_all_promises_passes_and_changes_no_random_numbers(kind: str, game: Any) -> None:
    before = torch.get_rng_state()
    check_own_network(game, configured(kind))
    assert torch.equal(torch.get_rng_state(), before)


def test_so_does_the_example() -> None:
    kind = "examples.transformer:BoardTransformer"
    for engine in ("onnx", "torch", "bfloat16"):
        fields = {"network": {"kind": kind}, "self_play": {"engine": engine}, "learner": {"precision": "bfloat16"}}
        check_own_network(TicTacToe(), make_config(fields, source="test"))


BROKEN = {
    "Listing": r"forward must return a tuple \(logits, value\) or a Prediction, not a list",
    "Alone": r"forward must return a tuple \(logits, value\) or a Prediction, not a tuple of 1",
    "Wordy": "value must be a tensor, not a str",
    "Scalar": r'value must be \[batch, 3\] for network.value_head = "wdl", not \[batch, 1\]',
    "Flat": r"logits must be \[batch, 9\], not \[72\]",
    "Whole": "logits must be of real numbers, not int64",
    "Odd": "value must be finite, but fresh weights answer nan",
    "Raising": r"forward must take observations \[batch, 2, 3, 3\], float32 \(RuntimeError: mat1 and mat2 shapes",
    "Mixing": "it must answer each row by itself, but its answers depend on the other rows of the batch",
    "Chancy": "in eval mode it must answer the same each time; chance such as dropout is for train mode",
    "Changing": "forward must not change its observation in place",
    "Spare": "no gradient reaches spare.weight; take it out, or set its requires_grad to False",
    "Detached": r"its answers must have a gradient \(RuntimeError: ",
    "Frozen": "no parameters that require a gradient, so there is nothing to learn",
    "Double": "parameter body.weight must be float32, not float64",
    "Lazy": "parameter body.weight has no size yet",
    "Tied": r"none of them twice \(tied weights\), for checkpoints \(RuntimeError: Some tensors share memory",
    "Unseeded": "drawn by torch's own generator, but body.weight differs from one making to the next",
    "Branching": r"cannot be exported to ONNX; .* `Learner` trains it all the same \(GuardOnDataDependent",
    "Counting": r"its export is for one number of rows alone; take it from observation.shape\[0\]",
    "Sorting": r"could not be read back; .* \(ValueError: it has the operation 'TopK', which no network here has\)",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_promise_is_named_in_one_line(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=f'^network.kind = "tests.own_networks:{kind}": .*{BROKEN[kind]}') as refused:
        check_own_network(TicTacToe(), configured(kind))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 500
    assert capfd.readouterr() == ("", "")


def test_what_only_some_settings_ask_for_is_asked_with_them_alone() -> None:
    def refused(kind: str, **settings: Any) -> str:
        check_own_network(TicTacToe(), configured(kind))
        with pytest.raises(ValueError, match=r"^network\.kind") as error:
            check_own_network(TicTacToe(), configured(kind, **settings))
        return str(error.value)

    ranks = {"cluster": {"learner_ranks": 2}}
    assert "network.end_weight needs a Prediction with `end`" in refused("Plain", network={"end_weight": 1.0})
    assert 'value_head = "scalar", not [batch, 3]' in refused("Constant3", network={"value_head": "scalar"})
    assert 'engine = "bfloat16" on cpu: tensors that forward makes' in refused(
        "Precise", self_play={"engine": "bfloat16"}
    )
    assert "norm is a BatchNorm1d; ranks share" in refused("Normed1d", **ranks)
    assert "network.end_weight = 0 has none for `end`" in refused("Foreseeing", **ranks)
    assert "network.soft_policy_weight needs a Prediction with `soft_policy`, [batch, 9]" in refused(
        "Plain", network={"soft_policy_weight": 1.0}
    )
    assert "network.soft_policy_weight = 0 has none for `soft_policy`" in refused("Softened", **ranks)
    assert "draws random numbers in train mode (dropout?)" in refused("Varied", **ranks)
    check_own_network(TicTacToe(), configured("Normed", **ranks))
    check_own_network(TicTacToe(), configured("Foreseeing", network={"end_weight": 1.0}))
    check_own_network(TicTacToe(), configured("Softened", network={"soft_policy_weight": 1.0}, **ranks))


def test_the_head_for_the_end_is_held_to_its_shape() -> None:
    with pytest.raises(ValueError, match=r"end must be \[batch, 2, 2, 3, 3\], not \[batch, 2, 18\]"):
        check_own_network(TicTacToe(), configured("Foreshortened", network={"end_weight": 1.0}))


def test_refinement_needs_values_that_can_be_differentiated() -> None:
    network = {"value_head": "scalar"}
    refining = {"search": {"refine_steps": 2}, "evaluation": {"opponents": []}}
    check_own_network(Drift(), configured("Plain", network=network, **refining))
    check_own_network(Drift(), configured("Rounding", network=network))
    with pytest.raises(ValueError, match=r"search\.refine_steps needs values that can be differentiated"):
        check_own_network(Drift(), configured("Rounding", network=network, **refining))
