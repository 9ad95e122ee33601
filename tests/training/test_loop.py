"""The loop against loops written by hand in plain torch, and against closed forms."""

import copy
import json
import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression, Ridge
from support.commands import TINY, Ended, train
from support.configs import parsed
from torch import Tensor, nn

from dl_lab.config.schema import RunConfig
from dl_lab.core.errors import ConfigError
from dl_lab.data.batching import training_batches
from dl_lab.data.dataset import Data
from dl_lab.training import loop, setup
from dl_lab.training.run import NEW, recorded
from dl_lab.vectorized import autotune

CPU = torch.device("cpu")


def load(ended: Ended, name: str) -> dict[str, Tensor]:
    """The model of a run's checkpoint."""
    return torch.load(ended.run / "checkpoints" / f"{name}.pt", weights_only=True)["model"]


def metrics(ended: Ended) -> bytes:
    return (ended.run / "metrics.jsonl").read_bytes()


def double(run: RunConfig) -> Data:
    return setup.build_data(run).to(CPU, torch.float64)


def sparing(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    every = list(parameters)
    groups = [
        {"params": [parameter for parameter in every if parameter.ndim >= 2]},
        {"params": [parameter for parameter in every if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=0.1, foreach=False, fused=False)


def by_hand(overrides: tuple[str, ...], steps: int, make: Callable[..., torch.optim.Optimizer]) -> nn.Module:
    """Train as anybody would write it: the mean cross-entropy of a batch, backward, one step of torch's optimizer."""
    run = parsed(*overrides)
    data = double(run)
    model = setup.build_model(run, data.spec)
    optimizer = make(model.parameters())
    batches = training_batches(data.train, run.settings.seed, 32, CPU)
    for inputs, targets in islice(batches, steps):
        optimizer.zero_grad()
        F.cross_entropy(model(data.prepare(inputs)), targets).backward()
        optimizer.step()
    return model


def adam(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01, betas=(0.8, 0.99), weight_decay=0.1, foreach=False, fused=False)


def sgd(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True, foreach=False, fused=False)


MOMENTUM = ("optimizer=sgd", "optimizer.lr=0.05", "optimizer.momentum=0.9")


@pytest.mark.parametrize(
    ("make", "overrides"),
    [
        (adam, ("optimizer=adam", "optimizer.lr=0.01", "optimizer.betas=[0.8,0.99]", "optimizer.weight_decay=0.1")),
        (sgd, ("model=cnn", "model.channels=[4,6]", *MOMENTUM, "optimizer.nesterov=true")),
        (sparing, (*MOMENTUM, "optimizer.weight_decay=0.1", "train.decay_biases=false")),
    ],
    ids=["mlp and adam", "cnn and sgd", "mlp and no decay of its biases"],
)
def test_a_run_is_the_loop_that_one_writes_by_hand(tmp_path, make, overrides):
    # 1,258 training images: the 40th batch of 32 is the last and the only smaller one of the first epoch
    overrides = ("model=mlp", *overrides, "dataset=digits", "precision=float64", "train.steps=45")
    trained = load(train(tmp_path, *overrides), "last")
    expected = by_hand(overrides, 45, make).state_dict()
    assert trained.keys() == expected.keys()
    for name, tensor in expected.items():
        # 64-bit sums in another order differ by about 1e-16 a step; 45 steps amplify that a little
        torch.testing.assert_close(trained[name], tensor, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["rprop", "muon"])
def test_biases_cannot_be_spared_by_an_optimizer_without_a_decay_for_each_parameter(name):
    run = parsed(f"optimizer={name}", "train.decay_biases=false")
    with pytest.raises(ConfigError, match=f"train.decay_biases=False .*optimizer={name}"):
        setup.build_run(run, setup.build_data(run))


def test_a_batch_in_pieces_gives_the_parameters_of_the_whole(tmp_path):
    overrides = ("dataset=iris", "precision=float64", "train.batch_size=16", "train.steps=20")
    whole = train(tmp_path / "1", *overrides, "train.accumulate=1")
    pieces = train(tmp_path / "4", *overrides, "train.accumulate=4")
    for name, tensor in load(whole, "last").items():
        torch.testing.assert_close(load(pieces, "last")[name], tensor, rtol=0, atol=1e-12)  # order of 64-bit sums
    for one, other in zip(whole.lines("val"), pieces.lines("val"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-11)


def test_a_point_of_the_training_curve_is_a_mean_over_all_examples_since_the_last(tmp_path):
    overrides = ("dataset=iris", "train.batch_size=16", "train.steps=7", "precision=float64")
    (together,) = train(tmp_path / "7", *overrides, "train.log_every=7").lines("train")
    singly = train(tmp_path / "1", *overrides, "train.log_every=1").lines("train")
    sizes = [16] * 6 + [9]  # 105 training examples
    for name in ("loss", "accuracy"):
        mean = np.average([line[name] for line in singly], weights=sizes)
        assert together[name] == pytest.approx(mean, rel=1e-12)


def test_clipping_is_torchs_and_the_norm_logged_is_the_one_before(tmp_path):
    overrides = ("dataset=iris", "precision=float64", "train.steps=1", "train.log_every=1", "train.max_grad_norm=0.125")
    plan, state = setup.build_run(parsed(*overrides), setup.build_data(parsed(*overrides)))
    model = copy.deepcopy(state.model)
    inputs, targets = next(training_batches(plan.data.train, plan.seed, plan.batch_size, CPU))
    F.cross_entropy(model(inputs), targets).backward()
    before = nn.utils.clip_grad_norm_(model.parameters(), 0.125)
    assert before > 0.2  # so that there is something to clip

    loop.train_step(state, plan, inputs, targets)
    gradients = [parameter.grad for parameter in state.model.parameters()]
    for gradient, expected in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, expected.grad, rtol=1e-12, atol=0)
    # torch divides by the norm + 1e-6
    assert float(nn.utils.get_total_norm(gradients)) == pytest.approx(0.125, rel=1e-5)
    (line,) = train(tmp_path, *overrides).lines("train")
    assert line["gradient_norm"] == pytest.approx(float(before), rel=1e-12)


LBFGS = ("dataset=diabetes", "model=linear", "optimizer=lbfgs", "precision=float64", "train.batch_size=full")


@pytest.mark.parametrize("options", ["tolerance_change=0", "line_search_fn=null", "max_iter=1"])
def test_lbfgs_ends_at_the_least_squares_solution(tmp_path, options):
    ended = train(tmp_path, *LBFGS, f"optimizer.{options}", "train.steps=900", "hydra.run.dir=run")
    reason = "optimizer=lbfgs is at its tolerance; more steps change nothing"
    assert f"ended early: {reason}" in ended.out
    assert ended.summary["reason"] == reason
    step = ended.summary["steps"]
    assert step < 900
    assert [line["step"] for line in ended.lines("val")][-1] == ended.lines("train")[-1]["step"] == step
    data = double(parsed(*LBFGS))
    inputs = np.column_stack([data.train.inputs.numpy(), np.ones(len(data.train))])
    _, (least, *_), *_ = np.linalg.lstsq(inputs, data.train.targets.numpy(), rcond=None)
    trained = load(ended, "last")
    residuals = data.train.inputs @ trained["linear.weight"].T + trained["linear.bias"] - data.train.targets
    # the loss changes by less than 1e-9 per iteration; what remains is a small multiple of it
    assert float(residuals.square().sum()) == pytest.approx(least, rel=2e-8)


@pytest.mark.parametrize("dataset", ["diabetes", "iris"])
def test_lbfgs_with_weight_decay_ends_at_the_solution_of_scikit_learn(tmp_path, dataset):
    """Mean loss + d/2 |w|^2 is scikit-learn's objective for alpha = nd/2 (squared error) and C = 1/nd (log loss)."""
    exact = (f"dataset={dataset}", "optimizer.weight_decay=0.01", "train.decay_biases=false", "train.steps=90")
    exact += ("optimizer.tolerance_change=0", "optimizer.tolerance_grad=1e-11")
    weight = load(train(tmp_path, *LBFGS, *exact, "hydra.run.dir=run"), "last")["linear.weight"]
    split = double(parsed(*LBFGS, *exact)).train
    decay = 0.01 * len(split)
    regression = LogisticRegression(C=1 / decay, tol=1e-10, max_iter=1000) if dataset == "iris" else Ridge(decay / 2)
    regression.fit(split.inputs, split.targets.squeeze())
    assert weight.numpy() == pytest.approx(np.atleast_2d(regression.coef_), abs=1e-6)


@pytest.mark.parametrize("other", ["train.batch_size=50", "schedule=cosine", "dropout.input_p=0.1"])
def test_lbfgs_goes_on_if_the_loss_or_its_rate_changes(tmp_path, other):
    dropout = ["dropout=dropout"] if other.startswith("dropout") else []
    ended = train(tmp_path, *LBFGS, "train.steps=12", *dropout, other)
    assert (ended.summary["steps"], ended.summary["reason"]) == (12, None)


def test_batch_normalization_trains_in_pairs_if_the_examples_are_odd(tmp_path, monkeypatch):
    """Of the 150 rows of iris 5 are for training, in batches of 2 and 3. Few steps, as pairs amplify rounding."""
    monkeypatch.setattr(autotune, "seconds_of", lambda step: 1.0)  # so that a stack pays
    arguments = ("dataset=iris", "dataset.validation=115", "model=deep_nn", "model.normalization=batch", "seed=0,1")
    arguments += ("train.batch_size=2", "train.epochs=2", "precision=float64", "optimizer=sgd", "hydra.sweep.dir=out")
    alone, stacked = (
        train(tmp_path / launcher, "-m", *arguments, f"hydra/launcher={launcher}")
        for launcher in ("in_turn", "vectorized")
    )
    for one, other in zip(alone.runs, stacked.runs, strict=True):
        mine, theirs = (json.loads((run / "summary.json").read_text()) for run in (one, other))
        assert mine["steps"] == theirs["steps"] == 4
        assert ("together" in mine, theirs["together"]) == (False, 2)
        assert mine["test"] == pytest.approx(theirs["test"], rel=1e-8)


def test_patience_stops_after_so_many_validations_without_a_better_one(tmp_path):
    # a step of 1e-30 moves no 32-bit weight, so that only the first validation is the best so far
    ended = train(tmp_path, *TINY, "optimizer=sgd", "optimizer.lr=1e-30", "train.steps=1000", "train.patience=3")
    assert [line["step"] for line in ended.lines("val")] == [3, 6, 9, 12]
    assert ended.summary["status"] == "completed"
    assert ended.summary["reason"] == "no better val/loss in 3 validations"
    assert "ended early: no better val/loss in 3 validations" in ended.out
    assert ended.summary["best"]["step"] == 3


@pytest.fixture(scope="module")
def restless(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A run whose validation goes up and down, so that its best checkpoint is not its last."""
    ended = train(
        tmp_path_factory.mktemp("restless"),
        *("dataset=wine", "optimizer=sgd", "optimizer.lr=1.5", "train.batch_size=4", "train.steps=40"),
        *("train.validate_every=1", "train.best=loss", "precision=float64"),
    )
    assert ended.summary["best"]["step"] < 40
    return ended


def recomputed(ended: Ended, part: str) -> dict[str, float]:
    """Loss and accuracy of the best checkpoint on a split, by hand."""
    run = parsed("dataset=wine", "precision=float64")
    data = double(run)
    model = setup.build_model(run, data.spec)
    model.load_state_dict(load(ended, "best"))
    split = getattr(data, part)
    with torch.no_grad():
        logits = model(split.inputs)
    accuracy = (logits.argmax(1) == split.targets).double().mean()
    return {"loss": float(F.cross_entropy(logits, split.targets)), "accuracy": float(accuracy)}


def test_the_best_checkpoint_is_the_one_with_the_best_validation(restless):
    validations = restless.lines("val")
    best = min(validations, key=lambda line: line["loss"])
    assert len(validations) == 40
    assert restless.summary["best"]["step"] == best["step"]
    assert recomputed(restless, "validation") == pytest.approx(
        {name: best[name] for name in ("loss", "accuracy")}, rel=1e-12
    )


def test_a_metric_of_which_more_is_better_is_kept_at_its_highest(tmp_path):
    arguments = ("optimizer=sgd", "optimizer.lr=1.5", "train.batch_size=4", "train.steps=30")
    ended = train(tmp_path, "dataset=wine", *arguments, "train.validate_every=1", "train.best=accuracy")
    accuracies = [line["accuracy"] for line in ended.lines("val")]
    assert min(accuracies) < max(accuracies)
    assert ended.summary["best"]["step"] == 1 + accuracies.index(max(accuracies))  # the first of equals


def test_the_test_split_is_looked_at_once_with_the_best_checkpoint(restless):
    (line,) = restless.lines("test")
    assert line["step"] == restless.summary["best"]["step"]
    assert restless.summary["test"].items() < line.items()
    tested = {name: line[name] for name in ("loss", "accuracy")}
    assert tested == pytest.approx(recomputed(restless, "test"), rel=1e-12)


def test_validation_does_not_depend_on_how_it_is_portioned(tmp_path):
    overrides = ("dataset=digits", "precision=float64", "train.steps=20", "train.validate_every=10")
    whole = train(tmp_path / "whole", *overrides)
    parts = train(tmp_path / "parts", *overrides, "train.eval_batch_size=7")
    for split in ("val", "test"):
        for one, other in zip(whole.lines(split), parts.lines(split), strict=True):
            assert one["accuracy"] == other["accuracy"]
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-12)  # order of 64-bit sums


def test_float64_is_float64_and_bfloat16_rounds(tmp_path):
    # the numbers that an initializer draws depend on the precision, so that the runs start from zeros
    overrides = ("dataset=digits", "model=logistic", "initializer=zeros", "train.steps=20")
    exact, single, rounded = (
        train(tmp_path / name, *overrides, f"precision={name}") for name in ("float64", "float32", "bfloat16")
    )
    assert {tensor.dtype for tensor in load(exact, "last").values()} == {torch.float64}
    assert {tensor.dtype for tensor in load(rounded, "last").values()} == {torch.float32}
    reference = exact.summary["best"]["loss"]
    assert reference < math.log(10)
    # relative to float64, 20 steps keep float32 within far less than bfloat16's rounding of 2^-9 a number
    assert abs(single.summary["best"]["loss"] / reference - 1) < 1e-4
    assert 1e-5 < abs(rounded.summary["best"]["loss"] / reference - 1) < 0.02


def test_one_batch_can_be_learnt_by_heart(tmp_path):
    ended = train(tmp_path, "train=overfit", "dataset=digits", "optimizer.lr=0.01")
    losses = [line["loss"] for line in ended.lines("train")]
    assert losses[0] > 0.5
    assert losses[-1] < 0.01
    assert ended.lines("test") == []
    assert "no test split" in ended.out
    # validation is the same batch: 32 images, so that accuracy is a number of 32nds
    assert ended.lines("val")[-1]["accuracy"] == 1


def followed(folder: Path, *overrides: str) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The initial weights of a run, and every batch that its model was trained on."""
    run = parsed(*overrides)
    plan, state = setup.build_run(run, setup.build_data(run))
    initial = copy.deepcopy(state.model.state_dict())
    batches: list[Tensor] = []
    state.model.register_forward_pre_hook(
        lambda model, inputs: batches.append(inputs[0].clone()) if model.training else None
    )
    with recorded(plan, state, folder, [], NEW) as active:
        loop.fit(active)
    return initial, batches


def test_another_dropout_leaves_initial_weights_and_the_order_of_the_data_as_they_were(tmp_path, capsys):
    overrides = ("dataset=iris", "train.steps=15", "train.batch_size=16")
    initial, batches = followed(tmp_path / "none", *overrides, "dropout=none")
    for dropout in ("dropout", "alpha_dropout"):
        same, ordered = followed(tmp_path / dropout, *overrides, f"dropout={dropout}")
        assert same.keys() == initial.keys()
        assert all(torch.equal(same[name], initial[name]) for name in initial)
        assert len(batches) == 15
        assert all(torch.equal(one, other) for one, other in zip(batches, ordered, strict=True))
    assert "15/15" in capsys.readouterr().out


def test_the_learning_rate_of_a_schedule_is_logged(tmp_path):
    ended = train(
        tmp_path, *TINY, "schedule=exponential", "schedule.gamma=0.5", "optimizer.lr=0.75", "train.log_every=1"
    )
    assert [line["lr"] for line in ended.lines("train")] == [0.75 * 0.5**step for step in range(6)]


@pytest.mark.parametrize("pair", [("model=cnn", "dataset=digits"), ("model=transformer", "dataset=sorting")])
def test_a_deterministic_run_works_and_repeats(tmp_path, monkeypatch, pair):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    overrides = (*pair, "dropout=dropout", "deterministic=true", "train.steps=5", "train.batch_size=8")
    first = train(tmp_path / "1", *overrides)
    assert torch.are_deterministic_algorithms_enabled()
    assert first.summary["status"] == "completed"
    assert metrics(train(tmp_path / "2", *overrides)) == metrics(first)
    train(tmp_path / "3", *TINY)  # the next run of the process is free again
    assert not torch.are_deterministic_algorithms_enabled()
