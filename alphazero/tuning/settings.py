"""What a tuning varies: settings of the configuration, each within a range or among a few choices.

    search.c_scale=0.1..1          a range; of whole numbers where the setting is one
    learner.batch_size=64,128,256  choices: numbers, words, true and false

A range is searched evenly, or by its logarithm where its low end is above 0 and its high end at least ten times that.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any

from alphazero.config import Config, ConfigError
from alphazero.game.messages import printable, unquoted
from alphazero.runs.configuration import OLD_NAMES, SECTIONS, make_config

Value = bool | int | float | str
Values = Mapping[str, Value]  # by `section.field`

TUNED = ("search", "network", "self_play", "replay", "learner")  # sections; others are the machine's or the yardstick's
OPTIONS = "network.options."  # of a network of one's own
MOST, LONGEST = 20, 1_000  # settings, and choices of one; characters of what is said of one
FIGURES = 4  # of a number that is tried, so that people can read it
LOGARITHMIC = 10  # the ratio of a range's ends from which on it is searched by its logarithm


@dataclass(frozen=True)
class Range:
    """A setting between two numbers, both included; `whole`: whole numbers."""

    name: str
    low: float
    high: float
    whole: bool

    @property
    def logarithmic(self) -> bool:
        return self.low > 0 and self.high >= LOGARITHMIC * self.low

    def fitted(self, number: float) -> Value:
        """The number with a few figures, within the range."""
        if self.whole:
            return round(number)
        return min(self.high, max(self.low, float(f"{number:.{FIGURES}g}")))

    def holds(self, value: object) -> bool:
        right = type(value) is int or (type(value) is float and not self.whole)
        return right and self.low <= value <= self.high  # type: ignore[operator]

    def __str__(self) -> str:
        return f"{self.name} {self.low:g} to {self.high:g}{' (log)' if self.logarithmic else ''}"


@dataclass(frozen=True)
class Choices:
    """A setting with a few values."""

    name: str
    values: tuple[Value, ...]

    def holds(self, value: object) -> bool:
        return any(value == choice and type(value) is type(choice) for choice in self.values)

    def __str__(self) -> str:
        return f"{self.name} {', '.join(map(shown, self.values))}"


Setting = Range | Choices


def parse_settings(texts: Sequence[str], config: Config) -> list[Setting]:
    """The settings that `--over` names, in their order.

    ConfigError if one does not exist, cannot be tuned, or has an end or a choice that the configuration refuses.
    """
    if len(texts) > MOST:
        raise ConfigError(f"--over has {len(texts)} settings, more than {MOST}")
    if long := [text for text in texts if len(text) > LONGEST]:
        raise ConfigError(f"--over {unquoted(long[0])} is longer than {LONGEST:,} characters")
    settings = [_parse(text, config) for text in texts]
    names = [setting.name for setting in settings]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"--over names {twice[0]} twice")
    return settings


def tried(setting: Setting) -> tuple[Value, ...]:
    """The values at which a setting is checked before anything begins: the ends of a range, or all choices."""
    if isinstance(setting, Choices):
        return setting.values
    return setting.fitted(setting.low), setting.fitted(setting.high)


def with_values(config: Config, values: Values, *, source: str = "tuning") -> Config:
    """The configuration with these values of settings. ConfigError, which names the source, if they are not valid."""
    table = asdict(config)
    for name, value in values.items():
        *path, last = name.split(".")
        place = table
        for part in path:
            place = place[part]
        place[last] = value
    return make_config(table, source=source)


def values_of(config: Config, settings: Sequence[Setting]) -> dict[str, Value] | None:
    """The configuration's own values of the settings; None if one lies outside of what is tried."""
    values = {setting.name: _current(config, setting.name) for setting in settings}
    return values if all(setting.holds(values[setting.name]) for setting in settings) else None


def shown(value: Value) -> str:
    """The value as people write it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.{FIGURES}g}" if isinstance(value, float) else str(value)


def short_names(settings: Sequence[Setting]) -> dict[str, str]:
    """By name, the field alone where that tells it from the others."""
    fields = [setting.name.rpartition(".")[2] for setting in settings]
    return {s.name: field if fields.count(field) == 1 else s.name for s, field in zip(settings, fields, strict=True)}


def _parse(text: str, config: Config) -> Setting:
    name, equals, values = text.partition("=")
    name = OLD_NAMES.get(name.replace("-", "_"), name.replace("-", "_"))
    told = f"--over {unquoted(text)}"
    if not (equals and values):
        raise ConfigError(f"{told}: write a setting and what it may be, such as search.c_scale=0.1..1 or =0.1,0.5,1")
    _check_name(name, told)
    now = _current(config, name)
    low, dots, high = values.partition("..")
    if dots:
        setting: Setting = _range(name, low, high, now, told)
    else:
        setting = _choices(name, values.split(","), now, told)
    for value in tried(setting):
        with_values(config, {name: value}, source=told)
    return setting


def _check_name(name: str, told: str) -> None:
    """ConfigError, with the closest name, unless a setting of this name can be tuned."""
    if name.startswith(OPTIONS) and name.count(".") == 2:
        return
    known = [f"{section}.{field.name}" for section in TUNED for field in fields(SECTIONS[section])]
    known.remove("network.options")
    if name in known:
        return
    section, _, field = name.rpartition(".")
    if (section in SECTIONS and field in {each.name for each in fields(SECTIONS[section])}) or hasattr(Config(), name):
        raise ConfigError(f"{told}: {name} is the same for all trials; tuned are settings of {', '.join(TUNED)}")
    close = [each for each in known if each.endswith(f".{name}")] or difflib.get_close_matches(name, known, n=1)
    fix = f"did you mean {close[0]}?" if close else "alphazero train --help lists all"
    raise ConfigError(f"{told}: there is no setting {printable(name)}; {fix}")


def _range(name: str, low: str, high: str, now: object, told: str) -> Range:
    ends = [_number(end, told) for end in (low, high)]
    if isinstance(now, bool | str):
        raise ConfigError(f"{told}: {name} is no number; name its values, separated by commas")
    whole = all(isinstance(end, int) for end in ends) if now is None else isinstance(now, int)
    if whole and not all(float(end).is_integer() for end in ends):
        raise ConfigError(f"{told}: {name} is a whole number")
    if not ends[0] < ends[1]:
        raise ConfigError(f"{told}: the first end must be below the second")
    return Range(name, ends[0], ends[1], whole)


def _choices(name: str, texts: Sequence[str], now: object, told: str) -> Choices:
    values = [_value(text.strip()) for text in texts]
    if isinstance(now, float):
        values = [float(value) if type(value) is int else value for value in values]
    if not 2 <= len(values) <= MOST or len(set(map(repr, values))) < len(values):
        raise ConfigError(f"{told}: give a range, as LOW..HIGH, or from 2 to {MOST} different values")
    if name == "network.kind" and any(":" in str(value) for value in values):
        raise ConfigError(f"{told}: a class of your own is named for all trials at once, with --network.kind")
    return Choices(name, tuple(values))


def _number(text: str, told: str) -> int | float:
    value = _value(text.strip())
    if isinstance(value, bool | str):
        raise ConfigError(f"{told}: {printable(text)} is no number")
    return value


def _value(text: str) -> Value:
    """A value as in TOML, or a word."""
    if text.startswith("."):
        text = f"0{text}"
    with suppress(ValueError, RecursionError):
        value = tomllib.loads(f"x = {text}")["x"]
        if type(value) in (bool, int, float, str):
            return value  # type: ignore[no-any-return]
    return text


def _current(config: Config, name: str) -> Any:
    """The value of a setting; None of an option that the network has not been given."""
    if name.startswith(OPTIONS):
        return config.network.options.get(name.removeprefix(OPTIONS))
    section, field = name.split(".")
    return getattr(getattr(config, section), field)
