"""What a sweep prints of its results."""

from statistics import fmean, stdev

import pytest

from dl_lab.sweeps.manifest import Entry
from dl_lab.sweeps.results import MOST_ROWS, MOST_TABLES, best_lines, job_line, names


def entry(number: int, *overrides: str, status: str = "completed", **metrics: float) -> Entry:
    return Entry(
        number=number, overrides=list(overrides), signature="", status=status, folder=str(number), metrics=metrics
    )


def ranked(*jobs: tuple[Entry, dict], objective: str | None = None) -> list[str]:
    return best_lines([job for job, _ in jobs], {job.number: values for job, values in jobs}, objective)


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ([["seed=1"], ["seed=2"]], ["seed=1", "seed=2"]),
        ([["seed=1", "train.epochs=2"], ["seed=2", "train.epochs=2"]], ["seed=1", "seed=2"]),
        ([["optimizer.lr=1", "model=mlp"], ["optimizer.lr=2", "model=mlp"]], ["lr=1", "lr=2"]),
        ([["a.x=1", "b.x=1"], ["a.x=2", "b.x=2"]], ["a.x=1 b.x=1", "a.x=2 b.x=2"]),  # x would be ambiguous
        ([["optimizer.lr=1", "seed=3"]], ["lr=1 seed=3"]),  # the only job
        ([["a.b=0.00012345678"], ["a.b=1"]], ["b=0.0001235", "b=1"]),  # as its folder in TensorBoard
        ([["~schedule"], ["schedule=cosine"]], ["~schedule", "schedule=cosine"]),
        ([["model.hidden_sizes=[1,2]"], []], ["hidden_sizes=[1,2]", ""]),
    ],
)
def test_jobs_are_named_after_what_differs(jobs, expected):
    assert list(names(dict(enumerate(jobs))).values()) == expected


def test_the_line_of_a_job_marks_validation_metrics_and_counts_warnings():
    job = entry(3, loss=0.51, accuracy=0.87654321, f1_macro=0.5, step=80)
    assert job_line(job, "lr=1", None) == "#3  lr=1  val/loss 0.51  val/accuracy 0.8765  step 80"
    assert job_line(job, "lr=1", "val/f1_macro").count("val/") == 3
    job.status, job.warnings = "pruned", 2
    assert job_line(job, "", None).startswith("#3  pruned  val/loss 0.51")
    assert job_line(job, "", None).endswith("step 80  (2 warnings in summary.json)")


def test_the_best_configurations_are_ranked_by_their_mean_over_seeds():
    scores = {"0.1": [0.5, 0.6, 0.7], "0.2": [0.9, 0.8, 0.7], "0.3": [0.75, 0.95, 0.4]}
    jobs = [
        (
            entry(10 * n + seed, f"optimizer.lr={lr}", f"seed={seed}", accuracy=score),
            {"optimizer": {"lr": float(lr)}, "seed": seed},
        )
        for n, (lr, values) in enumerate(scores.items())
        for seed, score in enumerate(values)
    ]
    lines = ranked(*jobs)
    assert lines[0] == "ranked   val/accuracy, 3 of 3 configurations"
    assert [line.split()[-1] for line in lines[1:]] == ["lr=0.2", "lr=0.3", "lr=0.1"]
    assert f" {fmean(scores['0.2']):.4g} ± {stdev(scores['0.2']):.4g} over 3 seeds " in lines[1]


def test_lower_losses_and_the_objective_of_a_search_come_first():
    jobs = [(entry(n, f"a.b={n}", loss=loss, mae=-loss), {"a": {"b": n}}) for n, loss in enumerate([3.0, 1.0, 2.0])]
    assert [line.split()[-1] for line in ranked(*jobs)[1:]] == ["b=1", "b=2", "b=0"]
    lines = ranked(*jobs, objective="val/mae")
    assert lines[0].startswith("ranked   val/mae")
    assert [line.split()[-1] for line in lines[1:]] == ["b=0", "b=2", "b=1"]


def test_a_configuration_that_lost_seeds_counts_them_as_the_worst_score():
    kept = [(entry(n, "a.b=1", f"seed={n}", accuracy=0.6), {"a": {"b": 1}, "seed": n}) for n in range(2)]
    lost = [
        (entry(5, "a.b=2", "seed=0", accuracy=0.9), {"a": {"b": 2}, "seed": 0}),
        (entry(6, "a.b=2", "seed=1", status="diverged"), {"a": {"b": 2}, "seed": 1}),
    ]
    worst = [(entry(7, "a.b=3", accuracy=0.1), {"a": {"b": 3}, "seed": 0})]
    lines = ranked(*kept, *lost, *worst)
    assert [line.split()[-1] for line in lines[1:]] == ["b=1", "b=2", "b=3"]  # (0.9 + 0.1) / 2 is less than 0.6
    assert "(1 of 2 seeds diverged)" in lines[2]
    assert ranked((entry(0, status="failed"), {})) == []


def test_runs_that_are_measured_differently_have_tables_of_their_own():
    def job(number: int, dataset: str, width: int) -> tuple[Entry, dict]:
        values = {"dataset": {"name": dataset}, "model": {"name": "mlp", "width": width}}
        return entry(number, f"dataset={dataset}", f"model.width={width}", accuracy=number / 100), values

    lines = ranked(*[job(3 * place + width, name, width) for place, name in enumerate("xy") for width in range(3)])
    assert [line for line in lines if line.startswith("ranked")] == [
        "ranked   val/accuracy, 3 of 3 configurations  dataset=x",
        "ranked   val/accuracy, 3 of 3 configurations  dataset=y",
    ]
    assert [line.split()[-1] for line in lines if line[0] == " "] == ["width=2", "width=1", "width=0"] * 2
    many = [job(number, str(number), 0) for number in range(MOST_TABLES + 2)]
    assert ranked(*many)[-1] == "ranked   and 2 other tables: `compare` has them"
    rows = [job(number, "x", number) for number in range(MOST_ROWS + 2)]
    assert ranked(*rows)[0] == f"ranked   val/accuracy, {MOST_ROWS} of {MOST_ROWS + 2} configurations"
