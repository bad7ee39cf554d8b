"""Configurations in files: faults and their messages, and that TOML and back changes nothing."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import alphazero.runs.configuration
from alphazero.config import (
    ClusterConfig,
    Config,
    ConfigError,
    EvaluationConfig,
    LearnerConfig,
    NetworkConfig,
    ReplayConfig,
    SearchConfig,
    SelfPlayConfig,
)
from alphazero.game import Discrete
from alphazero.runs.configuration import (
    OLD_NAMES,
    SECTIONS,
    check_fit,
    differences,
    load_config,
    make_config,
    to_toml,
    with_current_names,
    with_plain_lists,
)
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.stubs import Mine


def fault(toml: str, folder: Path) -> str:
    """The message about a file with this text, without the file's name."""
    path = folder / "recipe.toml"
    path.write_text(toml, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return "\n".join(line.removeprefix(f"{path}: ") for line in lines)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[search]\nsimulation = 3", "unknown field `simulation` in [search]; did you mean `simulations`?"),
        ("[learner]\nlearningrate = 0.1", "unknown field `learningrate` in [learner]; did you mean `learning_rate`?"),
        ("iteration = 3", "unknown field `iteration`; did you mean `iterations`?"),
        ("[serch]\nsimulations = 3", "unknown field `serch`; did you mean `search`?"),
    ],
)
def test_a_typo_is_answered_with_the_field_that_was_meant(toml: str, said: str, tmp_path: Path) -> None:
    assert fault(toml, tmp_path) == said


def test_a_name_like_no_other_is_answered_with_all_there_are(tmp_path: Path) -> None:
    said = fault("[replay]\nqqq = 1", tmp_path)
    assert said.startswith("unknown field `qqq` in [replay]; expected one of ")
    assert all(field.name in said for field in fields(ReplayConfig))


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("search", "simulations", "0"),
        ("search", "algorithm", '"alphabeta"'),
        ("search", "c_scale", "0.0"),
        ("search", "c_visit", "-1.0"),
        ("search", "dirichlet_fraction", "1.5"),
        ("search", "dirichlet_alpha", "nan"),
        ("search", "simulations", "2.5"),
        ("search", "simulations", '"many"'),
        ("network", "value_head", '"both"'),
        ("self_play", "td_lambda", "-0.1"),
        ("self_play", "opening_moves", "-1"),
        ("self_play", "temperature", "inf"),
        ("replay", "merge", '"cubic"'),
        ("learner", "ema_decay", "1.01"),
        ("learner", "learning_rate", "0"),
        ("evaluation", "games", "7"),
        ("evaluation", "games", "0"),
        ("search", "simulations", str(2**63)),
        ("search", "dirichlet_alpha", "1e-300"),
        ("network", "blocks", "1000000"),
        ("network", "width", "60000"),
        ("self_play", "cache", str(2**31)),
        ("self_play", "temperature", "1e-300"),
        ("self_play", "device", '"meta"'),
        ("replay", "window", str(2**62)),
        ("learner", "learning_rate", "1e+300"),
        ("evaluation", "simulations", str(10**30)),
        ("cluster", "worker_cpus", "1e-09"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_place(section: str, field: str, value: str, tmp_path: Path) -> None:
    said = fault(f"[{section}]\n{field} = {value}", tmp_path)
    assert said.startswith(f"`{section}.{field}`: ")
    assert f"(given: {value.strip(chr(34))})".replace("0)", "0") in said.replace("'", "").replace("0)", "0")


def test_every_number_has_a_limit() -> None:
    """Also those that are added later: none takes 10^300, nor a number of thousands of digits."""

    def numbers(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        for name, value in vars(config).items():
            if is_dataclass(value):
                yield from numbers(value, (*path, name))
            elif isinstance(value, int | float) and not isinstance(value, bool):
                yield (*path, name)

    found = list(numbers(Config()))
    assert len(found) > 50
    for *sections, name in found:
        for value in (10**300, 1e300, int("9" * 4000, 16)):
            given = {sections[0]: {name: value}} if sections else {name: value}
            with pytest.raises(ConfigError, match=rf"`{'.'.join([*sections, name])}") as caught:
                make_config(given, source="test")
            assert len(str(caught.value)) < 300


def test_a_seed_fits_every_generator() -> None:
    assert make_config({"seed": 2**62 - 1}, source="test").seed == 2**62 - 1
    torch.Generator().manual_seed(2**62 - 1)
    with pytest.raises(ConfigError, match="`seed`: input should be less than 4611686018427387904"):
        make_config({"seed": 2**62}, source="test")


class Wide(TicTacToe):
    actions = Discrete(1_300)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"self_play": {"streams": 4096, "parallel_games": 1 << 17, "moves": 100}},
            "self_play.streams * parallel_games",
        ),
        ({"self_play": {"parallel_games": 1 << 17}, "search": {"simulations": 1 << 16}}, "search.simulations make"),
        ({"learner": {"batch_size": 1 << 20}, "network": {"blocks": 100, "width": 256}}, "learner.batch_size"),
        ({"network": {"blocks": 500, "width": 1024}}, "network.blocks = 500 and network.width = 1024 make"),
        ({"replay": {"window": 10**9}, "search": {"simulations": 2}}, "replay.window"),
    ],
)
def test_numbers_that_are_too_much_together_are_named(fields: dict[str, Any], said: str) -> None:
    game = Wide() if "replay" in fields else ConnectFour()
    check_fit(game, Config())
    with pytest.raises(ValueError, match=re.escape(said)):
        check_fit(game, make_config(fields, source="test"))


@pytest.mark.parametrize(
    ("fields", "fix"),
    [
        ({"evaluation": {"opponents": ["random"]}}, "evaluation.opponents = []"),
        ({"self_play": {"resign_below": -0.9}}, "self_play.resign_below = -1"),
    ],
)
def test_what_only_games_for_two_have_is_refused_with_its_fix(fields: dict[str, Any], fix: str) -> None:
    alone: dict[str, Any] = {"network": {"kind": "dense", "value_head": "scalar"}, "evaluation": {"opponents": []}}
    check_fit(Mine(), make_config(alone, source="test"))
    with pytest.raises(ValueError, match=f"mine is a game for one.*{re.escape(fix)}"):
        check_fit(Mine(), make_config(alone | fields, source="test"))


def test_every_fault_has_a_line(tmp_path: Path) -> None:
    said = fault("iterations = 0\n[search]\nsimulation = 1\nc_scale = -1.0", tmp_path)
    assert len(said.splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"game = ", "is not valid TOML"),
        (b"\xff\xfe\x00", "is not a text file"),
        (b"seed = " + b"9" * 5000, "is not valid TOML: Exceeds the limit"),
        (b"seed = " + b"[" * 5000, "is not valid TOML: too many brackets within one another"),
        (b"seed = 1979-13-45", "is not valid TOML"),
        (b"#" * 1_000_001, "is longer than 1,000,000 characters"),
    ],
)
def test_a_file_that_is_no_toml_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml: cannot be read \(No such file"):
        load_config(tmp_path / "missing.toml")


def test_messages_quote_a_part_of_what_is_long(tmp_path: Path) -> None:
    long = "x" * 10_000
    for toml in (f"{long} = 1", f'[search]\nalgorithm = "{long}"', f"seed = 0x{'f' * 5000}", f"[search]\n{long} = 1"):
        assert len(fault(toml, tmp_path)) < 500
    said = fault("\n".join(f"unknown{number} = 1" for number in range(5000)), tmp_path)
    assert len(said.splitlines()) == 21
    assert said.endswith("and 4,980 faults more")


def test_nothing_given_means_the_defaults() -> None:
    assert make_config({}, source="nothing") == Config()


shares = st.floats(0, 1)
configs = st.builds(
    Config,
    seed=st.integers(0, 2**31),
    iterations=st.integers(1, 10**6),
    search=st.builds(
        SearchConfig, algorithm=st.sampled_from(["gumbel", "puct"]), rescale_q=st.booleans(), dirichlet_fraction=shares
    ),
    self_play=st.builds(SelfPlayConfig, td_lambda=shares, device=st.sampled_from(["cpu", "cuda", "cuda:1"])),
    replay=st.builds(ReplayConfig, merge=st.sampled_from(["none", "linear", "log", "constant"]), growth=shares),
    learner=st.builds(LearnerConfig, learning_rate=st.floats(1e-12, 1e9)),
    evaluation=st.builds(EvaluationConfig, opponents=st.lists(st.sampled_from(["random", "minimax:3"])).map(tuple)),
)


@given(configs)
def test_toml_and_back_is_the_same_configuration(config: Config) -> None:
    assert make_config(tomllib.loads(to_toml(config)), source="written") == config


def test_the_sections_are_the_configurations_own() -> None:
    assert {field.name: type(getattr(Config(), field.name)) for field in fields(Config) if field.name in SECTIONS} == (
        SECTIONS
    )


@pytest.fixture
def fresh_notices() -> None:
    """Notices are given once in a process."""
    alphazero.runs.configuration._notice.cache_clear()


EARLIER = """
[self_play]
games = 3
moves = 4
[learner]
batch = 5
clip = 0.5
average = 0.25
[cluster]
most_behind = 6.0
most_stale = 7.0
"""
PRESENT = Config(
    self_play=SelfPlayConfig(parallel_games=3, moves=4),
    learner=LearnerConfig(batch_size=5, max_grad_norm=0.5, ema_decay=0.25),
    cluster=ClusterConfig(max_backlog=6.0, max_staleness=7.0),
)


def test_the_names_of_the_version_before_are_read_and_said_once(
    fresh_notices: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(EARLIER, encoding="utf-8")
    assert load_config(path) == load_config(path) == PRESENT
    (said,) = caplog.messages
    assert len(OLD_NAMES) == 6
    assert all(f"`{old}` is now `{new}`" in said for old, new in OLD_NAMES.items())
    assert said.endswith("; the old names are read for one more version")
    caplog.clear()
    assert make_config(tomllib.loads(to_toml(PRESENT)), source="written") == PRESENT
    assert caplog.messages == []


def test_the_names_of_the_version_before_are_read_on_the_command_line(
    fresh_notices: None, caplog: pytest.LogCaptureFixture
) -> None:
    given = ["--self-play.games", "3", "--learner.batch=5", "--search.simulations", "--learner.average", "-1"]
    now = ["--self_play.parallel_games", "3", "--learner.batch_size=5", *given[3:4], "--learner.ema_decay", "-1"]
    assert with_current_names(given) == now
    assert caplog.messages == [
        "`self_play.games` is now `self_play.parallel_games`, `learner.batch` is now `learner.batch_size`, "
        "`learner.average` is now `learner.ema_decay`; the old names are read for one more version"
    ]


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (["--evaluation.opponents", "[]", "--seed", "1"], ["--evaluation.opponents", "--seed", "1"]),
        (["--evaluation.opponents=[]"], ["--evaluation.opponents"]),
        (["--evaluation.opponents", '["random", "minimax:5"]'], ["--evaluation.opponents", "random", "minimax:5"]),
        (["--evaluation.opponents=['random']"], ["--evaluation.opponents", "random"]),
        (["--evaluation.opponents", "random"], ["--evaluation.opponents", "random"]),
        (others := ["--run=runs/[b]", "[1, 2]", "[", "[x]", "[" * 10_000 + "]"], others),
    ],
)
def test_lists_are_taken_as_the_messages_write_them(given: list[str], plain: list[str]) -> None:
    assert with_plain_lists(given) == plain


def test_a_field_by_both_its_names_is_a_fault(fresh_notices: None, tmp_path: Path) -> None:
    assert "unknown field `batch` in [learner]" in fault("[learner]\nbatch = 5\nbatch_size = 5", tmp_path)


def test_differences_name_field_and_both_values() -> None:
    old = Config()
    new = replace(old, seed=7, search=replace(old.search, simulations=16))
    assert differences(old, new) == ["seed: 1 -> 7", "search.simulations: 32 -> 16"]
    assert differences(old, old) == []


def test_fields_of_the_included_networks_are_no_measure_of_another() -> None:
    large = NetworkConfig(blocks=1000, width=8192)
    for network, refused in ((large, True), (replace(large, kind="tests.own_networks:Plain"), False)):
        config = replace(Config(), network=network, learner=LearnerConfig(batch_size=1 << 16))
        if refused:
            with pytest.raises(ValueError, match="blocks"):
                check_fit(ConnectFour(), config)
        else:
            check_fit(ConnectFour(), config)


OPTIONS = "must be a word with a plain value: true, a number, a text, or a list of these"


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ('kind = "conv"', "`network.kind`: must be residual, dense, or a class of your own as package.module:Class"),
        ('kind = "a.b:C(heads=4)"', "`network.kind`: must be residual"),
        ('kind = "../a:C"', "`network.kind`: must be residual"),
        (f'kind = "{"a" * 200}:C"', "`network.kind`: string should have at most 200 characters"),
        ("options = 3", "`network.options`: must be a table, such as {heads = 4} (given: 3)"),
        ("options = {heads = {a = 1}}", f"`network.options`: option 'heads' {OPTIONS}"),
        ("options = {heads = nan}", f"`network.options`: option 'heads' {OPTIONS}"),
        ("options = {heads = 2026-01-01}", f"`network.options`: option 'heads' {OPTIONS}"),
        ("options = {heads = [[inf]]}", f"`network.options`: option 'heads' {OPTIONS}"),
        ('options = {"a-b" = 1}', f"`network.options`: option 'a-b' {OPTIONS}"),
        ("options = {heads = 9223372036854775808}", f"`network.options`: option 'heads' {OPTIONS}"),
    ],
)
def test_a_network_and_its_options_are_named_in_plain_words(toml: str, complaint: str, tmp_path: Path) -> None:
    assert complaint in fault(f"[network]\n{toml}", tmp_path)


def test_options_come_back_from_a_file_as_they_were(tmp_path: Path) -> None:
    options = {"a": True, "b": -3, "c": 2.0, "d": "x\n'\"", "e": [1, [2.5, "y"], []], "größe": 1 << 62}
    config = replace(Config(), network=NetworkConfig(kind="a.b:C", options=options))
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config))
    assert load_config(path) == config
    assert [type(value) for value in load_config(path).network.options.values()] == [*map(type, options.values())]
    assert differences(Config(), config) == ["network.kind: residual -> a.b:C", f"network.options: {{}} -> {options}"]
    assert hash(config)


class Cell(Mine):
    """Observes one number, as a board of a single cell."""

    observation_shape = (1, 1, 1)


def test_a_network_that_cannot_learn_from_a_single_number_is_refused() -> None:
    scalar = NetworkConfig(value_head="scalar")
    residual = replace(Config(), evaluation=EvaluationConfig(opponents=()), network=scalar)
    check_fit(Cell(), residual)
    alone = replace(residual, learner=LearnerConfig(batch_size=1))
    shared = replace(residual, learner=LearnerConfig(batch_size=4), cluster=ClusterConfig(learner_ranks=4))
    for config in (alone, shared):
        with pytest.raises(
            ValueError, match=r'mine observes a single cell.*network.kind = "dense", or a larger learner'
        ):
            check_fit(Cell(), config)
        check_fit(Cell(), replace(config, network=replace(scalar, kind="dense")))
