"""Comparing runs: groups, means, counts, verdicts and what is left out, as read from the written files."""

import csv
import json
import re
import time
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats
from support.commands import Ended, command
from support.configs import container

from dl_lab import compare
from dl_lab.analysis.report_files import write_new

NOISE = {0: 0.01, 1: -0.02, 2: 0.03, 3: -0.02}  # by seed, equal in every configuration, so pairing removes it


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return {**container("optimizer=sgd", "dataset=iris"), "data_dir": None}


def write_run(
    folder: Path,
    config: Mapping[str, Any],
    changes: Mapping[str, Any],
    seed: int,
    loss: float,
    status: str = "completed",
) -> None:
    """Write a run folder as train does, without checkpoints and events; the keys of `changes` are dotted."""
    values = deepcopy(dict(config))
    for key, value in {**changes, "seed": seed}.items():
        group, _, name = key.rpartition(".")
        (values[group] if group else values)[name] = value
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(values))
    lines = [{"step": step, "epoch": step / 10, "split": "val", "loss": loss + 1 / step} for step in (10, 20, 30)]
    lines += [{"step": step, "epoch": step / 10, "split": "train", "loss": loss + 2 / step} for step in (10, 20, 30)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    best = {"loss": loss, "accuracy": 1 - loss, "step": 30, "epoch": 3.0}
    summary = {"status": status, "reason": None, "seconds": 2.0, "best": best, "last": {"loss": loss + 0.1}}
    test = {"loss": loss + 0.2, "accuracy": 0.9 - loss}
    (folder / "summary.json").write_text(json.dumps({**summary, "test": test}))


def write_sweep(folder: Path, config: Mapping[str, Any], losses: Mapping[float, float], seeds: int = 4) -> Path:
    """Write a run for every lr and seed; its loss is that of the lr plus the noise of the seed."""
    for number, (lr, seed) in enumerate((lr, seed) for lr in losses for seed in range(seeds)):
        write_run(folder / str(number), config, {"optimizer.lr": lr}, seed, losses[lr] + NOISE[seed] + 1e-3 * lr * seed)
    return folder


def compared(folder: Path, *arguments: object) -> Ended:
    """Compare by val/loss, unless the arguments name another metric."""
    return command(compare.main, folder, "metric=val/loss", *map(str, arguments))


def written(folder: Path) -> Path:
    """The newest comparison in this folder."""
    return max((folder / "compare").iterdir(), key=lambda path: int(path.name))


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of compare.csv in this folder, or in its newest comparison."""
    with ((folder if (folder / "compare.csv").exists() else written(folder)) / "compare.csv").open() as file:
        return list(csv.DictReader(file))


def numbers(row: Mapping[str, str], *names: str) -> list[float]:
    return [float(row[name]) for name in names]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]) -> tuple[Path, Ended]:
    folder = write_sweep(tmp_path_factory.mktemp("sweep"), config, {0.1: 0.5, 0.01: 0.2, 1.0: 0.3})
    return folder, compared(folder.parent, folder)


def test_a_row_has_the_statistics_of_the_seeds_of_one_configuration(sweep):
    folder, ended = sweep
    assert (ended.status, ended.err) == (0, "")
    assert [float(row["optimizer.lr"]) for row in rows(folder)] == [0.01, 1.0, 0.1]
    for row in rows(folder):
        lr = float(row["optimizer.lr"])
        loss = {0.1: 0.5, 0.01: 0.2, 1.0: 0.3}[lr]
        scores = np.array([loss + NOISE[seed] + 1e-3 * lr * seed for seed in range(4)])
        expected = stats.ttest_1samp(scores, 0.0).confidence_interval()
        assert numbers(row, "mean", "deviation", "best") == pytest.approx(
            [scores.mean(), scores.std(ddof=1), scores.min()]
        )
        assert numbers(row, "low", "high") == pytest.approx([expected.low, expected.high])
        assert (row["seeds"], row["seconds"], row["metric"]) == ("4", "2.0", "best/loss")
        best = json.loads((Path(row["best_run"]) / "summary.json").read_text())
        assert best["best"]["loss"] == pytest.approx(scores.min())


def test_verdicts_are_paired_by_seed(sweep):
    """The noise between seeds is as large as the difference, which therefore only pairs can show."""
    leader, second, third = rows(sweep[0])
    assert leader["verdict"] == "leader"
    assert second["verdict"] == third["verdict"] == "behind"
    assert float(second["difference"]) == pytest.approx(0.1 + 1e-3 * 1.5 * 0.99)
    assert float(second["difference_high"]) - float(second["difference_low"]) < 0.01
    assert float(second["common_seeds"]) == 4


def test_folds_share_a_row_are_paired_and_have_the_corrected_interval(tmp_path, config):
    random = np.random.default_rng(0)
    losses = {0.1: random.normal(0.5, 0.1, (2, 5)), 0.2: random.normal(0.6, 0.1, (2, 5))}
    for lr, table in losses.items():
        for (seed, fold), loss in np.ndenumerate(table):
            changes = {"optimizer.lr": lr, "dataset.folds": 5, "dataset.fold": fold}
            write_run(tmp_path / f"{lr} {seed} {fold}", config, changes, seed, float(loss))
    ended = compared(tmp_path, tmp_path)
    leader, second = rows(tmp_path)
    reach = stats.t.ppf(0.975, 9) * np.std(losses[0.1], ddof=1) * (1 / 10 + 1 / 4) ** 0.5
    mean, difference = losses[0.1].mean(), losses[0.2] - losses[0.1]
    assert numbers(leader, "mean", "low", "high") == pytest.approx([mean, mean - reach, mean + reach])
    t = difference.mean() / difference.std(ddof=1) / (1 / 10 + 1 / 4) ** 0.5
    assert numbers(second, "difference", "p") == pytest.approx([difference.mean(), 2 * stats.t.sf(abs(t), 9)])
    assert (leader["seeds"], second["common_seeds"]) == ("10", "10")
    assert "dataset.fold" not in leader
    assert "over 10 runs" in ended.out
    assert all(text in (written(tmp_path) / "compare.md").read_text() for text in ("Nadeau & Bengio 2003", "more runs"))


def test_only_keys_with_different_values_are_columns(sweep):
    assert [name for name in rows(sweep[0])[0] if "." in name] == ["optimizer.lr"]


def test_screen_and_markdown_show_the_same_table_and_describe_the_metric(sweep):
    folder, ended = sweep
    text = (written(folder) / "compare.md").read_text()
    table = [line for line in ended.out.splitlines() if line.startswith("|")]
    assert len(table) == 5
    assert [line for line in text.splitlines() if line.startswith("|")] == table
    assert len({len(line) for line in table}) == 1
    assert "best/loss, validation, at the checkpoint that train.best=loss selects: lower is better" in text
    assert (written(folder) / "compare.html").read_text().count("<img src=") == len(re.findall(r"\]\(", text)) == 2
    for picture in re.findall(r"\]\((.*?)\)", text):
        assert (written(folder) / picture).read_bytes().startswith(b"\x89PNG")


def test_values_of_any_characters_are_compared(tmp_path, config):
    columns = ["$$ cheap $$", "a|b", "x\ny", "$"]
    for number, name in enumerate(columns):
        write_run(tmp_path / "sweep" / str(number), config, {"dataset.features": [name]}, 0, 0.1 + number)
    ended = compared(tmp_path, tmp_path / "sweep")
    assert ended.status == 0
    table = [
        line for line in (written(tmp_path / "sweep") / "compare.md").read_text().splitlines() if line.startswith("|")
    ]
    assert len(table) == 2 + len(columns)
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_one_swept_key_has_a_figure_and_curves(sweep):
    assert {path.name for path in written(sweep[0]).glob("figures/*.png")} == {"by_optimizer.lr.png", "curves.png"}


def test_a_second_comparison_does_not_overwrite_the_first(tmp_path, sweep):
    folder, _ = sweep
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for out in ([], [f"out={tmp_path / 'mine'}"]):
        ended = compared(folder.parent, folder, *out)
        wrote = next(line for line in ended.out.splitlines() if line.startswith("wrote"))
        assert Path(wrote.split()[1].rstrip(",")) not in before
    assert {path: path.read_bytes() for path in before} == before
    mine = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = compared(folder.parent, folder, f"out={tmp_path / 'mine'}")
    assert again.status == 2
    assert again.err.startswith(f"error: out={tmp_path / 'mine'} is not empty; allowed: a new or an empty folder")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == mine


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_comparison_is_not_written_through_a_link_or_over_a_file(tmp_path, config, kind):
    write_sweep(tmp_path / "sweep", config, {0.1: 0.5}, seeds=2)
    (tmp_path / "victim").mkdir()
    where = tmp_path / "sweep" / "compare"
    if kind == "link":
        where.symlink_to(tmp_path / "victim")
    else:
        where.write_text("mine")
    ended = compared(tmp_path, "sweep")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert list((tmp_path / "victim").iterdir()) == []


def test_nothing_remains_of_a_comparison_that_cannot_be_written(tmp_path):
    with pytest.raises(FileExistsError):
        write_new({"a.md": b"1", "b/c.png": b"2", "b": b"3"}, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("metric", "best_lr", "mean"),
    [
        ("test/accuracy", 0.01, 0.7),
        ("best/accuracy", 0.01, 0.8),
        ("val/accuracy", 0.01, 0.8),
        ("last/loss", 0.01, 0.3),
        ("train/loss", 0.01, 0.2667),
    ],
)
def test_any_metric_can_be_selected_and_the_best_row_comes_first(tmp_path, config, metric, best_lr, mean):
    write_sweep(tmp_path / "sweep", config, {0.1: 0.5, 0.01: 0.2})
    ended = compared(tmp_path, "sweep", f"metric={metric}", "out=answer")
    assert ended.status == 0
    first = rows(tmp_path / "answer")[0]
    assert float(first["optimizer.lr"]) == best_lr
    assert float(first["mean"]) == pytest.approx(mean, abs=1e-4)
    assert not (tmp_path / "sweep" / "compare").exists()


def test_runs_that_have_not_completed_are_counted_but_not_averaged(tmp_path, config):
    write_sweep(tmp_path, config, {0.1: 0.5, 0.01: 0.2})
    for number, status in enumerate(("diverged", "stopped", "failed"), 100):
        write_run(tmp_path / str(number), config, {"optimizer.lr": 0.01}, number, 99.0, status)
    write_run(tmp_path / "200", config, {"optimizer.lr": 0.01}, 200, 99.0)
    (tmp_path / "200" / "summary.json").unlink()  # as if killed
    write_run(tmp_path / "300", config, {"optimizer.lr": 7.0}, 0, 99.0, "diverged")
    ended = compared(tmp_path, tmp_path)
    first, _, last = rows(tmp_path)
    assert (first["seeds"], float(first["mean"])) == ("4", pytest.approx(0.2, abs=1e-3))
    statuses = ("diverged", "failed", "stopped", "unfinished")
    assert [first[status] for status in statuses] == ["1", "1", "1", "1"]
    keys = ("optimizer.lr", "seeds", "mean", "diverged", "rank")
    assert [last[key] for key in keys] == ["7.0", "0", "", "1", ""]
    assert "not completed, and in no mean: 2 diverged, 1 failed, 1 stopped, 1 unfinished" in ended.out
    assert "of the leader's 8 runs are not in its mean" in ended.out
    assert "leader (1 of 5 seeds diverged)" in ended.out  # it leads even with the worst score for that seed


def write_seeds(folder: Path, config: Mapping[str, Any], lr: float, losses: Mapping[int, float | str]) -> None:
    """Write a run for every seed with its loss, or with the status of a run that did not complete."""
    for seed, loss in losses.items():
        ended = ("completed", loss) if isinstance(loss, float) else (loss, 0.4)
        write_run(folder / f"{lr}_{seed}", config, {"optimizer.lr": lr}, seed, status=ended[0], loss=ended[1])


def test_a_configuration_does_not_lead_because_its_bad_seeds_were_pruned(tmp_path, config):
    """lr 1 has the best mean over five seeds, but three more were pruned, so it does not lead."""
    good, pruned = dict(zip(range(5), (0.19, 0.21, 0.20, 0.22, 0.18), strict=True)), dict.fromkeys((5, 6, 7), "pruned")
    write_seeds(tmp_path, config, 1.0, {**good, **pruned})
    write_seeds(tmp_path, config, 0.1, {seed: good.get(seed, 0.23) + 0.01 + seed / 1e3 for seed in range(8)})
    write_seeds(tmp_path, config, 0.01, {seed: good.get(seed, 0.23) + 0.05 + seed / 1e3 for seed in range(8)})
    ended = compared(tmp_path, tmp_path)
    leader, _, flattered = rows(tmp_path)
    assert [float(row["optimizer.lr"]) for row in rows(tmp_path)] == [0.1, 0.01, 1.0]
    assert (leader["seeds"], leader["pruned"], flattered["seeds"], flattered["pruned"]) == ("8", "0", "5", "3")
    assert numbers(leader, "mean") == pytest.approx([(1.0 + 3 * 0.23) / 8 + 0.01 + 3.5e-3])
    assert numbers(flattered, "mean", "common_seeds", "difference") == pytest.approx([0.2, 5, -0.012])
    line = "a better mean, but over its completed seeds only: lr 1: 0.2 ± 0.01581 over 5 seeds (3 of 8 seeds pruned)"
    assert line in ended.out.splitlines()
    better = [line for line in ended.out.splitlines() if line.startswith("lr 1 is better than lr 0.1 by 0.012")]
    assert len(better) == 1
    assert better[0].endswith("5 paired seeds) (3 of 8 seeds pruned)")
    (row,) = (line for line in ended.out.splitlines() if line.startswith("| 3 "))
    assert "ahead (3 of 8 seeds pruned)" in row


def test_the_worst_score_includes_scores_of_pruned_runs(tmp_path, config):
    """The only completed seed of lr 1 does not make it lead, because the scores of its pruned seeds are worse."""
    write_seeds(tmp_path, config, 1.0, {0: 0.10, 1: "pruned", 2: "pruned", 3: "pruned"})
    write_seeds(tmp_path, config, 0.1, {0: 0.20, 1: 0.20, 2: 0.20, 3: 0.21})
    compared(tmp_path, tmp_path)
    assert [float(row["optimizer.lr"]) for row in rows(tmp_path)] == [0.1, 1.0]


def test_one_lucky_seed_does_not_lead_if_every_configuration_was_pruned(tmp_path, config):
    write_seeds(tmp_path, config, 0.1, {0: 0.18, 1: "pruned", 2: "pruned", 3: "diverged"})
    write_seeds(tmp_path, config, 1.0, {0: 0.20, 1: 0.20, 2: 0.21, 3: "pruned"})
    write_seeds(tmp_path, config, 0.01, {0: "pruned", 1: 0.30, 2: "pruned", 3: "pruned"})
    ended = compared(tmp_path, tmp_path, "metric=val/accuracy")  # 1 - loss, so higher is better
    assert [float(row["optimizer.lr"]) for row in rows(tmp_path)] == [1.0, 0.1, 0.01]
    assert "leader (1 of 4 seeds pruned)" in ended.out
    assert "nothing can be said with 1 common seed (3 of 4 seeds diverged or pruned)" in ended.out


def test_a_seed_that_was_pruned_once_and_completed_once_is_not_lost(tmp_path, config):
    write_seeds(tmp_path, config, 0.1, {0: 0.2, 1: 0.3})
    write_run(tmp_path / "again", config, {"optimizer.lr": 0.1}, 1, 0.4, "pruned")
    ended = compared(tmp_path, tmp_path)
    assert "not completed, and in no mean: 1 pruned" in ended.out
    assert "seeds pruned)" not in ended.out


def test_one_seed_gives_no_verdict(tmp_path, config):
    write_sweep(tmp_path, config, {0.1: 0.5, 0.01: 0.2}, seeds=1)
    ended = compared(tmp_path, tmp_path)
    assert ended.err == ""
    _, second = rows(tmp_path)
    assert second["verdict"] == "nothing can be said with 1 common seed"
    assert (second["deviation"], second["low"], second["more_seeds"]) == ("", "", "")


def test_a_seed_that_ran_twice_counts_once_and_is_reported(tmp_path, config):
    for number, loss in enumerate((0.4, 0.2)):
        write_run(tmp_path / str(number), config, {}, 0, loss)
    ended = compared(tmp_path, tmp_path)
    (row,) = rows(tmp_path)
    assert (row["seeds"], row["mean"]) == ("1", "0.2")
    assert "left out, because its configuration and seed were run again: " in ended.out


def test_runs_that_differ_in_name_tags_device_threads_or_log_interval_share_a_row(tmp_path, config):
    changes = {"name": "mine", "tags": ["a"], "device": "cuda", "threads": 2, "train.log_every": 7, "train.pictures": 1}
    write_run(tmp_path / "0", config, {}, 0, 0.2)
    for seed, (key, value) in enumerate(changes.items(), 1):
        write_run(tmp_path / str(seed), config, {key: value}, seed, 0.2)
    compared(tmp_path, tmp_path)
    (row,) = rows(tmp_path)
    assert row["seeds"] == "7"


def test_a_value_that_a_choice_determines_is_not_a_column(tmp_path, config):
    other = {**container("optimizer=adam", "dataset=iris"), "data_dir": None}
    for seed in range(2):
        write_run(tmp_path / f"sgd{seed}", config, {}, seed, 0.3)
        write_run(tmp_path / f"adam{seed}", other, {}, seed, 0.2 + 0.01 * seed)
    compared(tmp_path, tmp_path)
    names = list(rows(tmp_path)[0])
    assert names[2:4] == ["optimizer", "metric"]
    assert [row["optimizer"] for row in rows(tmp_path)] == ["adam", "sgd"]


def test_two_swept_keys_have_a_heat_map_and_importances(tmp_path, config):
    """The loss is 1 for one lr and 2 for the other; momentum has almost no effect."""
    for number, (lr, momentum, seed) in enumerate(np.ndindex(2, 3, 4)):
        changes = {"optimizer.lr": [0.1, 0.01][lr], "optimizer.momentum": [0.0, 0.5, 0.9][momentum]}
        write_run(tmp_path / str(number), config, changes, seed, 1 + lr + 0.01 * momentum + 0.001 * seed)
    compared(tmp_path, tmp_path)
    names = {path.stem for path in written(tmp_path).glob("figures/*.png")}
    assert names == {"by_optimizer.lr", "by_optimizer.momentum", "heat_map", "importance", "curves"}
    from dl_lab.analysis.comparison import compare as compare_runs
    from dl_lab.analysis.importance import importance
    from dl_lab.runs.finder import find

    found = importance(compare_runs(find([tmp_path])[0], "best/loss")[0])
    assert found is not None
    assert list(found.keys) == ["optimizer.lr", "optimizer.momentum", "seed"]
    assert found.means[0] > 100 * found.means[1]
    assert found.fit > 0.9


JOB = {"signature": "x", "metrics": {}, "reason": None, "seconds": None}


def write_manifest(folder: Path, jobs: list[dict[str, Any]]) -> None:
    head = {"version": 1, "command": "...", "started": "2026-11-22T10:00:00", "objective": "val/loss", "search": None}
    (folder / "sweep.json").write_text(json.dumps({**head, "jobs": [{**JOB, **job} for job in jobs]}))


def test_the_manifest_adds_jobs_without_a_folder_and_the_status_pruned(tmp_path, config):
    write_sweep(tmp_path, config, {0.1: 0.5, 0.01: 0.2}, seeds=3)
    write_run(tmp_path / "6", config, {"optimizer.lr": 0.1}, 3, 0.9, "stopped")
    jobs = [
        {
            "number": number,
            "overrides": [f"optimizer.lr={lr}", f"seed={seed}"],
            "status": "completed",
            "folder": str(number),
        }
        for number, (lr, seed) in enumerate((lr, seed) for lr in ("0.1", "1e-2") for seed in range(3))
    ]
    jobs.append({"number": 6, "overrides": ["optimizer.lr=0.1", "seed=3"], "status": "pruned", "folder": "6"})
    jobs.append({"number": 7, "overrides": ["optimizer.lr=1e-2", "seed=3"], "status": "failed", "folder": None})
    jobs.append({"number": 8, "overrides": ["optimizer.lr=-1", "seed=0"], "status": "failed", "folder": "8"})
    jobs.append({"number": 9, "overrides": ["optimizer.lr=-1", "seed=1"], "status": "pending", "folder": "9"})
    jobs[8]["reason"] = "optimizer.lr=-1 is not allowed; allowed: a number above 0"
    write_manifest(tmp_path, jobs)
    ended = compared(tmp_path, tmp_path)
    assert ended.status == 0
    by_lr = {float(row["optimizer.lr"]): row for row in rows(tmp_path)}
    assert set(by_lr) == {0.1, 0.01, -1.0}
    assert (by_lr[0.1]["seeds"], by_lr[0.1]["pruned"]) == ("3", "1")
    assert (by_lr[0.01]["seeds"], by_lr[0.01]["failed"]) == ("3", "1")
    assert (by_lr[-1.0]["seeds"], by_lr[-1.0]["failed"], by_lr[-1.0]["unfinished"]) == ("0", "1", "1")
    assert "failed: optimizer.lr=-1 is not allowed" in ended.out


@pytest.mark.faults
@pytest.mark.parametrize("text", ["", "{", "[]", '{"jobs": 3}', '{"jobs": [{"number": 0}]}', '{"jobs": [3]}', "\x00"])
def test_a_damaged_manifest_is_reported_and_its_runs_are_read(tmp_path, config, text):
    write_sweep(tmp_path, config, {0.1: 0.5, 0.01: 0.2}, seeds=2)
    (tmp_path / "sweep.json").write_text(text)
    ended = compared(tmp_path, tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert "sweep.json" in ended.out
    assert "its run folders are" in ended.out
    assert [row["seeds"] for row in rows(tmp_path)] == ["2", "2"]


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "an empty folder": lambda run: (
        [path.unlink() for path in run.rglob("*") if path.is_file()] and (run / ".hydra").rmdir()
    ),
    "no configuration": lambda run: (run / ".hydra" / "config.yaml").unlink(),
    "an empty configuration": lambda run: (run / ".hydra" / "config.yaml").write_text(""),
    "a configuration of another kind": lambda run: (run / ".hydra" / "config.yaml").write_text("[1, 2]"),
    "a configuration that is no YAML": lambda run: (run / ".hydra" / "config.yaml").write_text("a: [1"),
    "a configuration that is no text": lambda run: (run / ".hydra" / "config.yaml").write_bytes(b"\xff\xfe\x00"),
    "half a summary": lambda run: half(run / "summary.json"),
    "an empty summary": lambda run: (run / "summary.json").write_text(""),
    "a summary of another kind": lambda run: (run / "summary.json").write_text("[]"),
    "no summary": lambda run: (run / "summary.json").unlink(),
    "no metrics": lambda run: (run / "summary.json").write_text('{"status": "completed", "best": null}'),
    "metrics that are text": lambda run: (run / "summary.json").write_text(
        '{"status": "completed", "best": {"loss": "low"}}'
    ),
}


@pytest.mark.faults
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_left_out_with_one_line_and_the_others_are_compared(tmp_path, config, damage):
    write_sweep(tmp_path, config, {0.1: 0.5, 0.01: 0.2}, seeds=2)
    DAMAGE[damage](tmp_path / "3")
    ended = compared(tmp_path, tmp_path)
    assert (ended.status, ended.err) == (0, "")
    reported = [line for line in ended.out.splitlines() if str(tmp_path / "3") in line or "unfinished" in line]
    assert len([line for line in reported if not line.startswith("|")]) >= 1
    assert {row["optimizer.lr"]: row["seeds"] for row in rows(tmp_path)} == {"0.01": "1", "0.1": "2"}


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["half the metrics", "no metrics at all", "metrics that are no JSON"])
def test_damaged_curves_do_not_change_the_table(tmp_path, config, damage):
    write_sweep(tmp_path, config, {0.1: 0.5, 0.01: 0.2}, seeds=2)
    for run in tmp_path.glob("[0-9]"):
        path = run / "metrics.jsonl"
        {
            "half the metrics": lambda path=path: half(path),
            "no metrics at all": path.unlink,
            "metrics that are no JSON": lambda path=path: path.write_bytes(b'"split": "val"\xff\n[1]\n'),
        }[damage]()
    ended = compared(tmp_path, tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert [row["seeds"] for row in rows(tmp_path)] == ["2", "2"]


def test_no_readable_run_is_a_one_line_error(tmp_path, config):
    for number in range(3):
        write_run(tmp_path / str(number), config, {}, number, 0.1)
        (tmp_path / str(number) / ".hydra" / "config.yaml").write_text("")
    ended = compared(tmp_path, tmp_path)
    assert ended.status == 2
    assert ended.err.count("\n") == 1
    assert "no run is found; left out, because its configuration is not as a run writes it: " in ended.err
    assert not (tmp_path / "compare").exists()


def test_no_completed_run_is_an_error(tmp_path, config):
    write_run(tmp_path / "0", config, {}, 0, 0.1, "diverged")
    write_run(tmp_path / "1", config, {}, 1, 0.1, "diverged")
    ended = compared(tmp_path, tmp_path)
    assert ended.status == 2
    assert ended.err == "error: no run has metrics: none of 2 has completed (2 diverged); hint: add one that has\n"


def test_a_sweep_that_never_began_is_an_error_with_its_first_reason(tmp_path):
    jobs = [
        {"number": number, "folder": str(number), "status": "failed", "reason": "no space", "overrides": ["lr=1"]}
        for number in range(2)
    ]
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": jobs}))
    ended = compared(tmp_path, tmp_path)
    reason = "none of 2 has completed (2 failed; the first reason: no space)"
    assert (ended.status, ended.err) == (2, f"error: no run has metrics: {reason}; hint: add one that has\n")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ("no folder is given", "outputs/sweeps")),
        ([""], ("an argument is empty",)),
        (["nowhere"], ("nowhere is not a folder",)),
        (["nowhere/*"], ("nowhere/* is not a folder",)),
        (["sweep", "metrics=val/loss"], ("metrics is not a key (nearest: metric)", "metric, out")),
        (["sweep", "metric=best/acuracy"], ("metric=best/acuracy", "nearest: best/accuracy", "test/loss")),
        (["sweep", "metric=acuracy"], ("metric=acuracy is not known (nearest: accuracy); allowed: accuracy, loss",)),
        (["empty"], ("no run is found; left out, because it is empty: empty",)),
        (["sweep", "out=file/below"], ("file", "out=FOLDER")),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else "",
)
def test_a_mistake_is_a_one_line_error(tmp_path, config, arguments, parts):
    write_sweep(tmp_path / "sweep", config, {0.1: 0.5}, seeds=2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    ended = compared(tmp_path, *arguments)
    assert ended.status == 2
    assert ended.out == ""
    assert ended.err.count("\n") == 1
    assert "allowed: " in ended.err or "hint: " in ended.err
    for part in parts:
        assert part in ended.err


def test_help_names_every_key(tmp_path):
    ended = compared(tmp_path, "--help")
    assert ended.status == 0
    assert all(f"  {key}=" in ended.out for key in compare.KEYS)


def test_a_run_that_several_arguments_contain_counts_once(tmp_path, config):
    write_sweep(tmp_path / "outputs" / "sweeps" / "day" / "one", config, {0.1: 0.5, 0.01: 0.2}, seeds=2)
    write_run(tmp_path / "outputs" / "day" / "alone", config, {"optimizer.lr": 0.1}, 2, 0.5)
    compared(tmp_path, "outputs/*", "outputs/day/alone", "outputs", "out=here")
    assert sorted((float(row["optimizer.lr"]), row["seeds"]) for row in rows(tmp_path / "here")) == [
        (0.01, "2"),
        (0.1, "3"),
    ]


def test_the_report_on_several_folders_is_in_a_new_folder(tmp_path, config):
    for name in ("one", "two"):
        write_run(tmp_path / name, config, {"optimizer.lr": {"one": 0.1, "two": 0.2}[name]}, 0, 0.5)
    ended = compared(tmp_path, "one", "two")
    assert ended.status == 0
    (answer,) = (tmp_path / "outputs" / "comparisons").glob("*/*/compare.csv")
    assert len(rows(answer.parent)) == 2


@pytest.mark.faults
def test_comparing_a_thousand_runs_takes_seconds(tmp_path, config):
    """125 configurations with 8 seeds take about 6 s on one core of 2024, mostly for curves and the forest."""
    values = deepcopy(config)
    write_run(tmp_path / "sweep" / "first", values, {}, 0, 0.5)
    for number, (lr, momentum, seed) in enumerate(np.ndindex(25, 5, 8)):
        changes = {"optimizer.lr": 1e-4 * 1.5**lr, "optimizer.momentum": momentum / 5}
        write_run(tmp_path / "sweep" / str(number), values, changes, seed, 0.1 + abs(lr - 12) / 10 + 0.01 * (seed % 3))
    before = time.process_time()
    ended = compared(tmp_path, "sweep")
    assert time.process_time() - before < 30
    assert ended.status == 0
    assert "126 configurations, 1,001 runs" in ended.out
    assert len(rows(tmp_path / "sweep")) == 126
