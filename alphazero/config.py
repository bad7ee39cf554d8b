"""Configuration: typed, validated, documented. `alphazero.runs.configuration` reads it from TOML.

Every field's docstring is what `scripts/train.py --help` shows. A configuration derives from
another with `dataclasses.replace`, which validates again.

Every number has a limit beyond which no machine could bear it, or float32 could not; the limits of products, which
depend on the game, are in `alphazero.runs.configuration.check_sizes`.
"""

from __future__ import annotations

import math
from dataclasses import field, replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, PlainValidator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

_strict = ConfigDict(extra="forbid", allow_inf_nan=False)

MOST = 10**9  # of whatever else is counted, iterations above all
MOST_SIMULATIONS = 1 << 16  # a move
MAX_MOVES = 1_000  # of a game, unless a configuration says otherwise

# Strict: neither true nor "32" is a number.
Positive = Annotated[int, Field(ge=1, le=MOST, strict=True)]
Count = Annotated[int, Field(ge=0, le=MOST, strict=True)]
Fraction = Annotated[float, Field(ge=0, le=1, strict=True)]
PositiveFloat = Annotated[float, Field(ge=1e-12, le=1e9, strict=True)]
NonNegativeFloat = Annotated[float, Field(ge=0, le=1e9, strict=True)]
Device = Annotated[str, Field(pattern=r"^(cpu|cuda|mps|xpu)(:\d{1,3})?$")]


def _kind(kind: str) -> str:
    """The kind of a network, if it is one of the included ones or an import path."""
    module, colon, name = kind.partition(":")
    if kind in ("residual", "dense") or (colon and all(part.isidentifier() for part in (*module.split("."), name))):
        return kind
    raise PydanticCustomError("kind", "Must be residual, dense, or a class of your own as package.module:Class")


def _options(options: Any) -> dict[str, Any]:
    """Options of a network: names with plain values, as TOML writes them."""
    if not isinstance(options, dict):
        raise PydanticCustomError("options", "Must be a table, such as {heads = 4}")
    for name, value in options.items():
        if not (isinstance(name, str) and name.isidentifier() and _plain(value)):
            told = "Option {name} must be a word with a plain value: true, a number, a text, or a list of these"
            raise PydanticCustomError("options", told, {"name": repr(name)[:40]})
    return dict(options)


def _plain(value: object, depth: int = 8) -> bool:
    """Whether TOML can write it without a table or a date, and read it back as the same."""
    if isinstance(value, list):
        return depth > 0 and all(_plain(one, depth - 1) for one in value)
    if type(value) is int:
        return -(1 << 63) <= value < 1 << 63
    return type(value) in (bool, str) or (type(value) is float and math.isfinite(value))


@dataclass(frozen=True, config=_strict)
class SearchConfig:
    """How the tree search chooses its simulations."""

    algorithm: Literal["gumbel", "puct"] = "gumbel"
    """Gumbel AlphaZero (Danihelka et al. 2022) or AlphaZero's PUCT (Silver et al. 2018)."""
    simulations: Annotated[Positive, Field(le=1 << 20)] = 32  # as many only in a search by the clock
    """Simulations a move. AlphaZero: 800; Gumbel AlphaZero learns with 2 to 200."""
    max_depth: Annotated[Count, Field(le=MOST_SIMULATIONS)] = 0
    """Deepest path, in edges; 0: no limit. On a GPU a limit saves time: it bounds the loop of a selection."""
    solver: bool = False
    """Discrete actions: prove wins, draws and losses in the tree, and search no further there (MCTS-Solver)."""
    rescale_q: bool = False
    """Stretch a node's Q to [0, 1] before use, where values differ by little. They must be in [-1, 1] all the same."""
    considered_actions: Annotated[Positive, Field(le=MOST_SIMULATIONS)] = 16
    """Gumbel: actions sampled at the root (m). The paper: 16."""
    c_visit: NonNegativeFloat = 50.0
    """Gumbel: weight of Q at no visits (c_visit). The paper: 50."""
    c_scale: PositiveFloat = 0.5
    """Gumbel: weight of Q (c_scale). The paper: 1.0 on values in [0, 1], which is 0.5 on [-1, 1]."""
    gumbel_scale: NonNegativeFloat = 1.0
    """Gumbel: size of the root's noise; 1 to learn, 0 to play the strongest action."""
    c_init: NonNegativeFloat = 1.25
    """PUCT: exploration constant. AlphaZero: 1.25."""
    c_base: PositiveFloat = 19652.0
    """PUCT: visits over which exploration grows. AlphaZero: 19652."""
    dirichlet_alpha: Annotated[PositiveFloat, Field(ge=1e-3)] = 1.0
    """PUCT: concentration of the root's noise. AlphaZero: about 10 / legal moves (chess 0.3, Go 0.03)."""
    dirichlet_fraction: Fraction = 0.25
    """PUCT: share of noise in the root's prior; 0 to play the strongest action. AlphaZero: 0.25."""
    prior_temperature: PositiveFloat = 1.0
    """PUCT: the root's logits are divided by this. KataGo: 1.03 to 1.25."""
    sampled_actions: Annotated[int, Field(ge=2, le=4_096, strict=True)] = 16
    """Continuous actions: how many are drawn at every node, from the network's policy (K). Sampled MuZero: 20."""
    uniform_share: Fraction = 0.25
    """Continuous actions: the share of these that is drawn from the whole Box instead."""
    sharpening: Annotated[PositiveFloat, Field(le=100)] = 1.0
    """Continuous actions: their prior is the policy's density to this power; the higher, the sooner one is left."""
    rollout_moves: Annotated[Count, Field(le=10_000)] = 0
    """Moves of the policy in the simulator whose outcome is part of a new node's value; 0: the network alone."""
    rollout_share: Fraction = 0.5
    """Weight of that part. AlphaGo: 0.5."""
    refine_steps: Annotated[Count, Field(le=1_000)] = 0
    """Continuous actions: steps up the gradient through the game's (differentiable) step for the root's actions."""
    refine_gain: PositiveFloat = 0.1
    """The reward and value that the first of these steps should gain; its length follows from that and the gradient."""

    def without_noise(self) -> SearchConfig:
        """The same, to play the strongest action instead of exploring."""
        return replace(self, gumbel_scale=0.0, dirichlet_fraction=0.0)

    def at_the_board(self, *, discrete: bool) -> SearchConfig:
        """The same, to play as well as it can: without noise, and with proofs in a game of discrete actions."""
        return replace(self.without_noise(), solver=discrete)


@dataclass(frozen=True, config=_strict)
class NetworkConfig:
    """The network's size and heads."""

    kind: Annotated[str, Field(max_length=200), AfterValidator(_kind)] = "residual"
    """residual (He et al. 2016, as in AlphaGo Zero), dense (layers), or a class of your own by package.module:Class."""
    options: Annotated[dict[str, Any], PlainValidator(_options)] = field(default_factory=dict, hash=False)
    """A class of your own: what it is made with, by name; here --network.options.NAME VALUE. The others have fields."""
    blocks: Annotated[Positive, Field(le=1_000)] = 4
    """Residual blocks of two convolutions, or fully connected layers. AlphaGo Zero: 19 or 39."""
    width: Annotated[Positive, Field(le=8_192)] = 32
    """Channels of a convolution, or units of a layer. AlphaGo Zero: 256."""
    least_width: Annotated[Count, Field(le=8_192)] = 0
    """How narrow a run of so many minutes may make it, where they hold few iterations of that width; 0: never."""
    head_channels: Annotated[Positive, Field(le=1_024)] = 8
    """Residual: channels that each head sees. AlphaGo Zero: 2 (policy) and 1 (value)."""
    value_width: Annotated[Positive, Field(le=8_192)] = 64
    """Residual: units of the value head's hidden layer. AlphaGo Zero: 256."""
    position_bias: bool = False
    """Residual: a bias of its own for every channel of every cell, learned, behind the stem; rules may depend on it."""
    end_weight: NonNegativeFloat = 0.0
    """Weight in the loss of a head that foresees the game's last position, and is left out in play; 0: no such head."""
    soft_policy_weight: NonNegativeFloat = 0.0
    """Weight in the loss of a head for the search's policy at temperature 4, left out in play. KataGo: 8."""
    value_head: Literal["wdl", "scalar"] = "wdl"
    """Value as the probabilities of win, draw and loss (games for two), or as one number (tanh)."""
    deviation: Annotated[float, Field(ge=0.002, le=1, strict=True)] = 0.5
    """Continuous actions: the first policy's deviation, with the Box from -1 to 1. A small one suits refinement."""

    @property
    def own(self) -> bool:
        """Whether it is a class of the user's own."""
        return ":" in self.kind

    @property
    def unused(self) -> list[str]:
        """The fields that are set, but do not reach a class of the user's own."""
        of_others = ("blocks", "width", "least_width", "head_channels", "value_width", "position_bias")
        fields = NetworkConfig.__dataclass_fields__
        return [name for name in of_others if self.own and getattr(self, name) != fields[name].default]


@dataclass(frozen=True, config=_strict)
class SelfPlayConfig:
    """How games are played to make samples."""

    streams: Annotated[Positive, Field(le=4_096)] = 4
    """Independent batches of games. Streams run side by side, on as many threads as there are."""
    parallel_games: Annotated[Positive, Field(le=1 << 17)] = 128
    """Games at once in each stream: the batch of the search."""
    moves: Annotated[Positive, Field(le=100_000)] = 40
    """Moves that every game makes in an iteration, so samples: streams * parallel_games * moves."""
    max_moves: Annotated[Positive, Field(le=1_000_000)] = MAX_MOVES
    """The most moves of a game after its opening, here and in the agent's matches: there it ends. AlphaZero: 512."""
    at_max_moves: Literal["draw", "value"] = "draw"
    """What counts there: the rewards so far, without any a draw; or in self-play the search's value in their place."""
    end_proven: bool = False
    """End a game once search.solver has proven its outcome, which then counts: what would follow teaches little."""
    resign_below: Annotated[float, Field(ge=-1, le=0)] = -1.0
    """Root value below which the player to move resigns: most of what would follow is known. -1: nobody resigns."""
    resign_share: Fraction = 0.9
    """Share of the games at once in which players resign; the others tell how often it was wrong. AlphaGo Zero: 0.9."""
    first_simulations: Annotated[Count, Field(le=MOST_SIMULATIONS)] = 0
    """Simulations a move at the start of the run, growing evenly to search.simulations at its end; 0: no growth."""
    opening_share: Fraction = 0.7
    """Share of games that start after random moves; without any, self-play repeats itself."""
    opening_moves: Annotated[Count, Field(le=10_000)] = 14
    """The most random moves at a start; their number is uniform from 1 to this."""
    temperature: PositiveFloat = 1.0
    """The first moves of a game are drawn from policy^(1/temperature). AlphaZero: 1."""
    temperature_moves: Count = 0
    """How many moves are drawn in this way; later ones are the search's choice. AlphaGo Zero: 30."""
    td_lambda: Fraction = 0.85
    """Value target: 1 the outcome (AlphaZero), 0 the search's root value, between them TD(lambda) (Sutton 1988)."""
    surprise_weight: Fraction = 0.0
    """Share of the samples' weight that goes by how far the search moved the policy. KataGo: 0.5."""
    cache: Annotated[Count, Field(le=1 << 26)] = 262_144
    """The most positions whose evaluation is remembered, for each thread; 0: none. 48 bytes each in connect-four."""
    cache_mb: Annotated[Positive, Field(le=1 << 20)] = 64
    """The most megabytes that they take, for each thread: with many actions fewer positions. Taken as they fill."""
    engine: Literal["auto", "int8", "onnx", "torch", "bfloat16"] = "auto"
    """What runs the network: ONNX Runtime (int8; onnx: float32) or torch. auto: bfloat16 on CUDA and AMX, else int8."""
    device: Device = "cpu"
    """Where games, trees and network live: cpu, cuda, cuda:1, ..."""


@dataclass(frozen=True, config=_strict)
class ReplayConfig:
    """Which samples are kept to learn from."""

    window: Positive = 600_000
    """The most samples kept; the oldest go first."""
    start: Positive = 60_000
    """The window at first: it is `start + growth * (all samples so far)`, at most `window`."""
    growth: Fraction = 0.6
    """Share of all samples by which the window grows (as in KataGo, Wu 2019, appendix C)."""
    merge: Literal["none", "linear", "log", "constant"] = "none"
    """Samples of one position become one, with averaged targets and a weight of n, 1 + log2 n, or 1."""


@dataclass(frozen=True, config=_strict)
class LearnerConfig:
    """How the network learns from samples."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW (Loshchilov and Hutter 2019), or SGD with momentum 0.9 (AlphaZero)."""
    batch_size: Annotated[Positive, Field(le=1 << 20)] = 256
    """Samples a step. AlphaZero: 4,096."""
    replay_ratio: PositiveFloat = 2.5
    """How often a sample is learned from in all; steps follow from it."""
    learning_rate: PositiveFloat = 2e-3
    """The peak of the learning rate. AlphaZero (SGD): 0.2 falling to 0.0002."""
    warmup: Fraction = 0.02
    """Share of the run over which the learning rate rises from 0."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """The learning rate after the warm-up: to 1 % of its peak by the end of the run, or constant."""
    weight_decay: NonNegativeFloat = 1e-4
    """AdamW: this share of the weights, times the learning rate, is taken off each step. SGD: L2; AlphaZero: 1e-4."""
    value_weight: PositiveFloat = 1.0
    """Weight of the value's loss; that of the policy's is 1. AlphaZero: 1."""
    max_grad_norm: PositiveFloat = 1.0
    """Largest norm of a gradient; a larger one is scaled down."""
    ema_decay: Fraction = 0.995
    """Self-play and export use an exponential moving average of the weights, over about 1 / (1 - ema_decay) steps."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """The number format of the forward and backward pass; auto: bfloat16 where the hardware multiplies it."""
    device: Device = "cpu"
    """Where learning happens: cpu, cuda, cuda:1, ..."""


@dataclass(frozen=True, config=_strict)
class EvaluationConfig:
    """Games against fixed opponents during the run and at its end."""

    opponents: Annotated[tuple[str, ...], Field(max_length=100)] = ("random", "minimax:5")
    """random, minimax:DEPTH, mcts:SIMULATIONS (random rollouts), or perfect (a solver). In a game for one: none."""
    every: Count = 20
    """Iterations between evaluations; 0: only at the end."""
    games: Annotated[int, Field(ge=2, le=1_000_000, multiple_of=2)] = 100
    """Games against each opponent, half of them moving first. The last evaluation plays twice as many."""
    simulations: Annotated[Positive, Field(le=MOST_SIMULATIONS)] = 64
    """Simulations a move of the agent."""
    time_share: Fraction = 0.25
    """The share of a run's CPU time (or a minute) that an opponent may take; a slower one is weakened or left out."""
    opening_moves: Annotated[Count, Field(le=10_000)] = 2
    """Each pair of games starts after this many random moves at the most; after more, one side is often lost."""


@dataclass(frozen=True, config=_strict)
class ClusterConfig:
    """How the work spreads over processes and machines, if `workers` asks for it."""

    mode: Literal["synchronous", "asynchronous"] = "synchronous"
    """In step, the same weights whatever the number of workers; or asynchronous, where no task waits for another."""
    worker_cpus: Annotated[PositiveFloat, Field(ge=0.01, le=1_024)] = 1.0
    """Cores of a worker; from 2 on they are threads of the network's operations. Less than 1: several share one."""
    worker_gpus: Annotated[NonNegativeFloat, Field(le=64)] = 0.0
    """GPUs of a worker, or a part of one: 0.25 puts four workers on each. They need self_play.device = "cuda"."""
    learner_ranks: Annotated[Positive, Field(le=1_024)] = 1
    """Data-parallel copies of the learner on CPUs, a core each; 1: the learner in this process. See learner_gpus."""
    max_backlog: PositiveFloat = 2.0
    """asynchronous: samples that come in while learning is this many iterations behind are left out (and counted)."""
    max_staleness: PositiveFloat = 4.0
    """asynchronous: samples of a network that is older than this many iterations are left out (and counted)."""
    mirror: str = ""
    """Where checkpoints are copied to as well: a URL that fsspec knows, such as s3://bucket/runs/NAME."""


@dataclass(frozen=True, config=_strict)
class Config:
    """A training run."""

    game: str = "games.connect_four:ConnectFour"
    """The game, by import path: package.module:Class."""
    seed: Annotated[int, Field(ge=0, lt=1 << 62, strict=True)] = 1
    """Seeds everything random. The same seed gives the same weights on the same machine."""
    minutes: NonNegativeFloat = 0.0
    """The time of the whole run: it measures its pace and plans its iterations to end in time. 0: iterations count."""
    iterations: Positive = 100
    """Rounds of self-play and learning; a run of so many minutes writes here how many it plans."""
    plan: Annotated[tuple[tuple[Count, Fraction, Positive], ...], Field(max_length=10_000)] = ()
    """Written by a run of so many minutes. Each: iteration, progress in [0, 1] then, planned iterations in all."""
    threads: Annotated[Count, Field(le=4_096)] = 0
    """Threads that share self-play and learning; 0: as many as cores. The result does not depend on it."""
    workers: Annotated[Count, Field(le=10_000)] | Literal["auto"] = 0
    """Processes that play and measure, through Ray. 0: this one alone, without Ray. auto: as many as cores allow."""
    ray_address: str = ""
    """The Ray cluster to join: auto (the one on this machine), or HOST:PORT. Empty: one of our own, on this machine."""
    learner_gpus: Annotated[Count, Field(le=1_024)] = 0
    """GPUs of the learner, anywhere in the cluster: so many data-parallel ranks. 0: it runs on learner.device."""
    tracker: Literal["none", "wandb", "mlflow"] = "none"
    """Who is told all metrics beside TensorBoard: wandb (Weights & Biases), mlflow, or nobody."""
    search: SearchConfig = Field(default_factory=SearchConfig)
    network: NetworkConfig = Field(default_factory=NetworkConfig)
    self_play: SelfPlayConfig = Field(default_factory=SelfPlayConfig)
    replay: ReplayConfig = Field(default_factory=ReplayConfig)
    learner: LearnerConfig = Field(default_factory=LearnerConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)

    @property
    def distributed(self) -> bool:
        """Whether Ray takes part."""
        return bool(self.workers or self.ray_address or self.learner_gpus or self.cluster.learner_ranks > 1)


class ConfigError(Exception):
    """A configuration that cannot be used; the message names the place and the fix."""
