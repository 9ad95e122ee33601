"""A run is lengthened only if its schedule gives the steps that are done the same learning rates."""

from math import cos, pi

import pytest
from support.commands import TINY, train

RUN = (*TINY, "hydra.run.dir=run", "optimizer.lr=0.01", "train.log_every=1")
WARMUP = ("schedule.warmup_steps=2",)
DEPEND = {"cosine": (), "one_cycle": (), "warmup_cosine": WARMUP}
DO_NOT = {"constant": (), "step": ("schedule.step_size=4",), "exponential": (), "inverse_square_root": WARMUP}


def rates(folder, *overrides: str) -> list[float]:
    """The recorded learning rate of each step."""
    ended = train(folder, *overrides)
    assert ended.status == 0, ended.err
    return [line["lr"] for line in ended.lines("train")]


@pytest.mark.parametrize("name", DO_NOT)
def test_rates_that_do_not_depend_on_the_length_go_on(tmp_path, name):
    schedule = (f"schedule={name}", *DO_NOT[name])
    whole = rates(tmp_path / "whole", *RUN, *schedule, "train.steps=12")
    rates(tmp_path / "parts", *RUN, *schedule)
    assert rates(tmp_path / "parts", "resume=run", "train.steps=12") == whole


@pytest.mark.parametrize("length", ["train.steps=12", "train.epochs=2"])
@pytest.mark.parametrize("name", DEPEND)
def test_rates_that_depend_on_the_length_are_not_lengthened(tmp_path, name, length):
    rates(tmp_path, *RUN, f"schedule={name}", *DEPEND[name])
    given = ("train.steps=null", length) if "epochs" in length else (length,)
    ended = train(tmp_path, "resume=run", *given)
    assert (ended.status, ended.err.count("\n")) == (2, 1), ended.err
    assert f"schedule={name} depends on the length" in ended.err


def test_the_message_gives_the_factors_of_the_closed_form(tmp_path):
    rates(tmp_path, *RUN, "schedule=cosine", "schedule.final=0")
    ended = train(tmp_path, "resume=run", "train.steps=12")
    old, new = ((1 + cos(pi * 5 / steps)) / 2 for steps in (6, 12))
    assert f"its factor at step 5 of run from {old:.3g} to {new:.3g}" in ended.err


def test_a_run_out_of_patience_is_not_lengthened(tmp_path):
    ended = train(
        tmp_path, *RUN, "optimizer.lr=1e-9", "train.validate_every=1", "train.patience=1", "train.best=accuracy"
    )
    assert "ended early" in ended.out
    again = train(tmp_path, "resume=run", "train.steps=12")
    assert (again.status, again.err.count("\n")) == (2, 1), again.err
    assert "resume=run has ended early" in again.err
