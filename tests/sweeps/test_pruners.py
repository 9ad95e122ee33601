"""Pruning rules, compared with Optuna's pruners and with values computed by hand."""

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import MedianPruner, SuccessiveHalvingPruner

from dl_lab.config.schema import GridConfig
from dl_lab.config.validation import typed
from dl_lab.core.errors import ConfigError
from dl_lab.sweeps.pruners import below_median, hopeless, outranked

SETTINGS = {"name": "grid", "resume": None, "fail_fast": False, "prune_after": 1, "prune_factor": 2, "prune_least": 1}


def curves(runs: int, steps: int, seed: int) -> np.ndarray:
    """Return noisy losses that fall at different rates, (run, step)."""
    generator = np.random.default_rng(seed)
    speed = generator.uniform(0.01, 0.5, (runs, 1))
    return np.exp(-speed * np.arange(steps)) + generator.normal(0, 0.05, (runs, steps))


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def tell(study: optuna.Study, trial: optuna.Trial, loss: float | None) -> None:
    """Report a trial as completed, or as pruned if `loss` is None."""
    study.tell(trial, loss, state=optuna.trial.TrialState.PRUNED if loss is None else None)


@pytest.mark.parametrize("seed", range(5))
def test_asha_prunes_as_optunas_successive_halving_does(seed):
    """Runs one after the other, each until its end or until it is pruned."""
    study = optuna.create_study(pruner=SuccessiveHalvingPruner(min_resource=1, reduction_factor=3))
    losses: dict[int, dict[int, float]] = {}
    stops = 0
    for run, curve in enumerate(curves(40, 30, seed)):
        trial = study.ask({"x": FloatDistribution(0, 1)})
        losses[run] = {}
        for step, loss in enumerate(map(float, curve), 1):
            losses[run][step] = loss
            trial.report(loss, step)
            ours, theirs = outranked(losses, run, step, 1, 3), trial.should_prune()
            assert ours == theirs, (run, step)
            if theirs:
                stops += 1
                break
        tell(study, trial, None if theirs else loss)
    assert 10 < stops < 40


@pytest.mark.parametrize("seed", range(5))
def test_the_median_rule_prunes_as_optunas_does_for_constant_losses(seed):
    """Optuna compares with the loss of the other runs at the step, the paper with their mean loss until the step."""
    study = optuna.create_study(pruner=MedianPruner(n_startup_trials=4, n_warmup_steps=0))
    losses: dict[int, dict[int, float]] = {}
    stops = 0
    for run, loss in enumerate(map(float, np.random.default_rng(seed).uniform(size=30))):
        trial = study.ask({"x": FloatDistribution(0, 1)})
        trial.report(loss, 1)
        finished = {number: seen for number, seen in losses.items() if max(seen) > 1}
        losses[run] = {1: loss}
        ours, theirs = below_median(losses[run], finished, 1, 4), trial.should_prune()
        assert ours == theirs
        stops += theirs
        if not theirs:
            losses[run][2] = loss
            trial.report(loss, 2)
        tell(study, trial, None if theirs else loss)
    assert 3 < stops < 27


def test_the_median_rule_compares_the_best_loss_with_means_of_runs_that_reached_the_step():
    others = {1: {10: 1.0, 20: 0.0}, 2: {10: 3.0, 20: 2.0}, 3: {10: 9.0}}  # means until 20: 0.5 and 2.5, median 1.5
    assert not below_median({10: 1.4, 20: 7.0}, others, 20, least=2)
    assert below_median({10: 1.6, 20: 7.0}, others, 20, least=2)
    assert not below_median({10: 1.6, 20: 7.0}, others, 20, least=3)  # the third has not reached the step


def test_asha_keeps_one_run_in_prune_factor_at_each_rung():
    settings = GridConfig(prune="asha", **{**SETTINGS, "prune_after": 10, "prune_factor": 4})
    left, losses = set(range(64)), {run: {} for run in range(64)}
    sizes = []
    for step in range(5, 200, 5):
        for run in left:
            losses[run][step] = (run * 37 % 64) / 64  # all different
        left -= {run for run in left if hopeless(settings, losses, run, step)}
        sizes.append((step, len(left)))
    assert [size for step, size in sizes if step in (5, 10, 35, 40, 155, 160)] == [64, 16, 16, 4, 4, 1]
    assert left == {0}


def test_no_run_is_pruned_before_prune_after_or_without_a_rule():
    losses = {run: {5: float(run)} for run in range(20)}
    for rule in ("none", "median", "asha"):
        settings = GridConfig(prune=rule, **{**SETTINGS, "prune_after": 6})
        assert not any(hopeless(settings, losses, run, 5) for run in losses)
    settings = GridConfig(prune="median", **{**SETTINGS, "prune_after": 5, "prune_least": 5})
    assert [run for run in losses if hopeless(settings, losses, run, 5)] == list(range(10, 20))


@pytest.mark.parametrize(("key", "value"), [("prune_after", 0), ("prune_factor", 1), ("prune_least", 0)])
def test_pruning_settings_out_of_range_are_rejected(key, value):
    with pytest.raises(ConfigError, match=f"sweep.{key}={value} is not allowed"):
        typed(GridConfig, {"prune": "asha", **SETTINGS, key: value}, "sweep")
