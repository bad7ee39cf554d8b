"""`--over`: which settings it takes, what they may be, and what is refused before anything begins."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from alphazero.config import Config, ConfigError, NetworkConfig
from alphazero.tuning.settings import Choices, Range, Value, parse_settings, short_names, shown, values_of, with_values


def parse(text: str, config: Config | None = None) -> Range | Choices:
    [setting] = parse_settings([text], config or Config())
    return setting


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("search.c_scale=0.1..1", Range("search.c_scale", 0.1, 1, whole=False)),
        ("search.c-scale=.1..1e0", Range("search.c_scale", 0.1, 1, whole=False)),
        ("learner.learning_rate=1e-4..1e-2", Range("learner.learning_rate", 1e-4, 1e-2, whole=False)),
        ("search.simulations=16..64", Range("search.simulations", 16, 64, whole=True)),
        ("learner.batch=64,128", Choices("learner.batch_size", (64, 128))),  # its old name
        ("search.solver=true,false", Choices("search.solver", (True, False))),
        ("search.algorithm=gumbel,puct", Choices("search.algorithm", ("gumbel", "puct"))),
        ("self_play.td_lambda=1, 0.85", Choices("self_play.td_lambda", (1.0, 0.85))),
        ("network.options.heads=2..8", Range("network.options.heads", 2, 8, whole=True)),
        ("network.options.kind=plain,deep", Choices("network.options.kind", ("plain", "deep"))),
    ],
)
def test_ranges_and_choices(text: str, expected: Range | Choices) -> None:
    config = Config(network=NetworkConfig(kind="my_networks:Mine")) if "options" in text else None
    assert parse(text, config) == expected


@pytest.mark.parametrize(("high", "logarithmic"), [("0.99", False), ("1", True), ("100", True)])
def test_a_range_of_a_ratio_of_ten_is_logarithmic(high: str, logarithmic: bool) -> None:
    setting = parse(f"search.c_scale=0.1..{high}")
    assert isinstance(setting, Range)
    assert setting.logarithmic == logarithmic


def test_a_range_that_begins_at_nothing_is_even() -> None:
    setting = parse("learner.weight_decay=0..1")
    assert isinstance(setting, Range)
    assert not setting.logarithmic


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("search.c_scale", "write a setting and what it may be"),
        ("configs/tic_tac_toe.toml", "write a setting and what it may be"),
        ("search.c_scal=0.1..1", "there is no setting 'search.c_scal'; did you mean search.c_scale?"),
        ("c_scale=0.1..1", "did you mean search.c_scale?"),
        ("learning_rate=0.1..1", "did you mean learner.learning_rate?"),
        ("zzz=0.1..1", "there is no setting 'zzz'; alphazero train --help lists all"),
        ("search.c_scale=0..1", "`search.c_scale`: input should be greater than or equal to"),
        ("search.simulations=1..10000000", "`search.simulations`: input should be less than or equal to 1048576"),
        ("search.simulations=16..64.5", "search.simulations is a whole number"),
        ("search.simulations=16..inf", "search.simulations is a whole number"),
        ("search.c_scale=1..0.1", "the first end must be below the second"),
        ("search.c_scale=1..nan", "the first end must be below the second"),
        ("search.c_scale=0.1..one", "'one' is no number"),
        ("search.c_scale=0.1", "give a range, as LOW..HIGH, or from 2 to 20 different values"),
        ("search.simulations=8,8", "give a range, as LOW..HIGH, or from 2 to 20 different values"),
        ("search.simulations=8,many", "`search.simulations`: input should be a valid integer (given: 'many')"),
        ("search.solver=0..1", "search.solver is no number; name its values"),
        ("search.algorithm=gumbel,pct", "input should be 'gumbel' or 'puct'"),
        ("evaluation.games=10..20", "evaluation.games is the same for all trials"),
        ("cluster.mirror=a,b", "cluster.mirror is the same for all trials"),
        ("seed=1..9", "seed is the same for all trials"),
        ("game=a:B,c:D", "game is the same for all trials"),
        ("network.options=1,2", "network.options is the same for all trials"),
        ("network.kind=residual,os:System", "a class of your own is named for all trials at once"),
    ],
)
def test_what_cannot_be_tuned_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert complaint in str(refused.value)


def test_a_setting_is_named_once() -> None:
    with pytest.raises(ConfigError, match=r"--over names search\.c_scale twice"):
        parse_settings(["search.c_scale=0.1..1", "search.c_scale=1,2"], Config())


@pytest.mark.parametrize(
    ("setting", "number", "fitted"),
    [
        (Range("x", 0.1, 1, whole=False), 0.123456, 0.1235),
        (Range("x", 0.123456, 1, whole=False), 0.123456, 0.1235),
        (Range("x", 0.1, 0.123456, whole=False), 0.123456, 0.123456),  # 0.1235 would be beyond
        (Range("x", 16, 64, whole=True), 33, 33),
    ],
)
def test_values_have_few_figures_and_stay_in_their_range(setting: Range, number: float, fitted: Value) -> None:
    value = setting.fitted(number)
    assert value == fitted
    assert type(value) is type(fitted)
    assert setting.holds(value)


def test_what_a_setting_holds_has_its_type() -> None:
    assert not Range("x", 16, 64, whole=True).holds(32.0)
    assert Range("x", 16, 64, whole=False).holds(32)
    assert not Range("x", 0, 1, whole=True).holds(True)
    assert not Range("x", 0, 1, whole=False).holds(math.nan)
    assert not Choices("x", (True, False)).holds(1)


def test_values_go_into_the_configuration_and_come_back() -> None:
    config, own = Config(), Config(network=NetworkConfig(kind="my_networks:Mine", options={"heads": 4}))
    settings = parse_settings(["search.c_scale=0.1..1", "search.simulations=8,32"], config)
    changed = with_values(config, {"search.c_scale": 0.25, "search.simulations": 8})
    assert changed == replace(config, search=replace(config.search, c_scale=0.25, simulations=8))
    assert values_of(changed, settings) == {"search.c_scale": 0.25, "search.simulations": 8}
    assert values_of(replace(config, search=replace(config.search, simulations=16)), settings) is None
    assert with_values(own, {"network.options.heads": 8}).network.options == {"heads": 8}


def test_names_and_values_are_short() -> None:
    settings = parse_settings(
        ["search.c_scale=0.1..1", "self_play.device=cpu,cuda", "learner.device=cpu,cuda"], Config()
    )
    assert list(short_names(settings).values()) == ["c_scale", "self_play.device", "learner.device"]
    assert [shown(value) for value in (True, 1, 1.0, 0.00012346, "cpu")] == ["true", "1", "1", "0.0001235", "cpu"]
