"""Which settings to try next, and which trials to give up: Optuna's algorithms, as functions of the trials so far.

Optuna keeps nothing here: each call tells a new study, in memory, what has been tried. So a tuning that is resumed
draws the settings that it would have drawn, and nothing but `tuning.json` is read back.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from alphazero.tuning.records import Trial
from alphazero.tuning.settings import Choices, Setting, Value

if TYPE_CHECKING:
    import optuna

AT_RANDOM = 6  # trials before the sampler models what it has seen
WHOLE = 3  # trials that came to their end, before others may be given up
KEPT = 75.0  # percent, by rank, beyond which they are
ENOUGH = 8  # trials with a value, before they say which settings matter
ATTEMPTS = 100  # at settings that have not been tried


def suggest(settings: Sequence[Setting], trials: Sequence[Trial], *, lower: bool, seed: int) -> dict[str, Value] | None:
    """Values to try next, after these trials: by a tree-structured Parzen estimator (Bergstra et al. 2011).

    lower: whether a lower value is better. None if all that there is has been tried.
    """
    import optuna

    tried = [trial.values for trial in trials]
    for attempt in range(ATTEMPTS):
        state = np.random.SeedSequence([seed, len(trials), attempt]).generate_state(1)
        sampler = optuna.samplers.TPESampler(n_startup_trials=AT_RANDOM, seed=int(state[0]))
        asked = _study(settings, trials, lower=lower, sampler=sampler).ask(_distributions(settings))
        values = {
            setting.name: asked.params[setting.name]
            if isinstance(setting, Choices)
            else setting.fitted(asked.params[setting.name])
            for setting in settings
        }
        if values not in tried:
            return values
    return None


def hopeless(settings: Sequence[Setting], trials: Sequence[Trial], *, lower: bool) -> bool:
    """Whether the last trial is by now among the worst quarter of those that came to their end, as they were then.

    The median would be stricter than yardsticks are exact.
    """
    import optuna

    study = _study(settings, trials, lower=lower)
    pruner = optuna.pruners.PercentilePruner(KEPT, n_startup_trials=WHOLE)
    return pruner.prune(study, study.get_trials(deepcopy=False)[-1])


def importances(settings: Sequence[Setting], trials: Sequence[Trial], *, lower: bool) -> Mapping[str, float]:
    """By setting, its share in what tells good trials from bad (PED-ANOVA, Watanabe et al. 2023); {} after too few."""
    import optuna

    complete = [trial for trial in trials if trial.state == "complete"]
    if len(complete) < ENOUGH or len({trial.value for trial in complete}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own novelty
        return optuna.importance.get_param_importances(_study(settings, complete, lower=lower))


def _study(
    settings: Sequence[Setting],
    trials: Sequence[Trial],
    *,
    lower: bool,
    sampler: optuna.samplers.BaseSampler | None = None,
) -> optuna.Study:
    """A study in memory that knows these trials."""
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    states = {  # one that failed is told as pruned before its first look, which is the worst: the sampler keeps away
        "complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.PRUNED,
        "running": TrialState.RUNNING,
    }  # fmt: skip
    study = optuna.create_study(sampler=sampler, direction="minimize" if lower else "maximize")
    for trial in trials:
        study.add_trial(
            create_trial(
                state=states[trial.state],
                params=dict(trial.values),
                distributions=_distributions(settings),
                intermediate_values={} if trial.state == "failed" else dict(trial.looks),
                value=trial.value,
            )
        )
    return study


def _distributions(settings: Sequence[Setting]) -> dict[str, Any]:
    return {setting.name: _distribution(setting) for setting in settings}


def _distribution(setting: Setting) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(setting, Choices):
        return CategoricalDistribution(setting.values)
    if setting.whole:
        return IntDistribution(int(setting.low), int(setting.high), log=setting.logarithmic)
    return FloatDistribution(setting.low, setting.high, log=setting.logarithmic)
