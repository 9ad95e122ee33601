"""Claims of experiments, checked on run folders written by the tests."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from support.configs import choices, parsed

from dl_lab.config.compose import CONF
from dl_lab.core.errors import ConfigError
from dl_lab.runs.reader import Run, read_strict
from experiments import reproduce
from experiments.support import claims, command_line, results_table
from experiments.support.findings import Report, spread


def folder(root: Path, number: int, accuracy: float | None, **config: object) -> Run:
    """A run folder with this test accuracy; None means that it diverged before its first validation."""
    path = root / str(number)
    (path / ".hydra").mkdir(parents=True)
    (path / ".hydra" / "config.yaml").write_text(yaml.safe_dump({"optimizer": {"name": "sgd"}, **config}))
    summary = {"status": "completed", "test": None if accuracy is None else {"accuracy": accuracy}}
    (path / "summary.json").write_text(json.dumps(summary))
    line = {"step": 1, "epoch": 1.0, "split": "train", "loss": 2.5}
    (path / "metrics.jsonl").write_text(json.dumps({**line, "loss": 3.0}) + "\n" + json.dumps(line) + "\n")
    return read_strict(path)


@pytest.fixture
def runs(tmp_path):
    """Three seeds without dropout (.80 .82 .84) and three with dropout (.81 .84 .83)."""
    found = []
    for name, accuracies in (("none", (0.80, 0.82, 0.84)), ("dropout", (0.81, 0.84, 0.83))):
        for seed, accuracy in enumerate(accuracies):
            found.append(folder(tmp_path, len(found), accuracy, seed=seed, dropout={"name": name, "p": 0.5}))
    return found


def claim(**fields: object) -> claims.Claim:
    return claims.Claim(statement="s", source="https://example.org", metric="test/accuracy", **fields)


def test_mean_over_seeds_is_compared_with_the_published_value(runs):
    finding = claim(of={"dropout": "none"}, published=0.825, within=0.01).check(runs)
    assert finding.holds
    assert finding.measured == "0.82 ± 0.02 (3 seeds)"
    assert finding.published == "test/accuracy: 0.825 ± 0.01"
    assert not claim(of={"dropout": "none"}, published=0.835, within=0.01).check(runs).holds


def test_difference_is_paired_by_seed(runs):
    """The differences are +.01, +.02 and -.01, with a mean of .0067."""
    difference = claim(of={"dropout": "dropout"}, minus={"dropout": "none"}, at_least=0.0)
    assert difference.values(runs) == pytest.approx([0.01, 0.02, -0.01])
    assert difference.values(runs[::-1]) == pytest.approx([0.01, 0.02, -0.01])
    assert difference.check(runs).holds
    assert not claim(of={"dropout": "dropout"}, minus={"dropout": "none"}, at_least=0.007).check(runs).holds


def test_in_seeds_counts_the_seeds_that_hold(runs):
    pair = {"of": {"dropout": "dropout"}, "minus": {"dropout": "none"}, "at_least": 0.0}
    assert claim(**pair, in_seeds=2).check(runs).holds
    assert not claim(**pair, in_seeds=3).check(runs).holds


def test_runs_are_selected_by_lists_and_numbers(tmp_path):
    run = folder(tmp_path, 0, 0.9, seed=0, model={"name": "mlp", "hidden_sizes": [32, 8]}, dropout={"p": 0.5})
    assert run.matches({"model": "mlp", "model.hidden_sizes": "[32, 8]", "dropout.p": 0.5})
    assert run.matches({"model.hidden_sizes": [32, 8]})
    assert not run.matches({"model.hidden_sizes": [32]})
    with pytest.raises(ConfigError, match=r"dropout\.p"):
        run.matches({"dropout.q": 1})


def test_train_metric_is_the_last_training_point(tmp_path):
    assert folder(tmp_path, 0, 0.9, seed=0).metric("train/loss") == 2.5


def test_claim_fails_if_a_run_did_not_end(tmp_path, runs):
    runs.append(folder(tmp_path, 9, None, seed=3, dropout={"name": "none", "p": 0.5}))
    finding = claim(of={"dropout": "none"}, at_least=0.0).check(runs)
    assert not finding.holds
    assert "1 of 4 runs did not end" in finding.measured


def test_claim_without_runs_fails(runs):
    assert not claim(of={"dropout": "spatial"}, at_least=0.0).check(runs).holds


def test_unpaired_seed_is_a_programming_error(runs):
    with pytest.raises(AssertionError, match="seeds"):
        claim(of={"dropout": "dropout"}, minus={"dropout": "none"}, at_least=0.0).check(runs[:-1])


def test_unknown_key_of_a_claim_is_reported(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("claim: {takes: 1, shows: [{statement: s, source: u, metrik: test/loss}]}")
    with pytest.raises(ConfigError, match="metrik"):
        claims.read(path)


def test_a_metric_of_a_claim_says_which_validation_it_means(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("claim: {takes: 1, shows: [{statement: s, source: u, metric: val/loss}]}")
    with pytest.raises(ConfigError, match=r"metric=val/loss is not known.*last/NAME"):
        claims.read(path)


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_experiment_is_valid_and_its_claims_are_in_the_results(name):
    parsed(f"experiment={name}")
    experiment = claims.read(Path(CONF) / "experiment" / f"{name}.yaml")
    if experiment is not None:
        assert experiment.takes > 0
        results = results_table.PUBLISHED.read_text(encoding="utf-8")
        for each in experiment.claims:
            low, high = each.bounds()
            assert low <= high
            assert re.search(r"https://|doi:|\b(18|19|20)\d\d\b", each.source), "a page, or a paper with its year"
            assert f"| {name} | {each.statement} |" in results


def test_command_replaces_only_its_own_rows_of_the_results(tmp_path):
    path = tmp_path / "new" / "RESULTS.md"
    results_table.write_section(path, "Speed", "fast")
    header = ("concept", "measured", "command")
    results_table.write_rows(path, "Concepts", header, "b", "run b", ["| b | 1 | `run b` |"])
    results_table.write_rows(path, "Concepts", header, "b", "train b", ["| b | 2 | `train b --launcher x` |"])
    results_table.write_rows(path, "Concepts", header, "a", "run a", ["| a | 3 | `run a` |", "| a | 4 | `run a` |"])
    results_table.write_rows(path, "Concepts", header, "b", "train b", ["| b | 5 | `train b` |"])
    lines = path.read_text().splitlines()
    assert [line for line in lines if line.startswith("| ")] == [
        "| concept | measured | command |",
        "| a | 3 | `run a` |",
        "| a | 4 | `run a` |",
        "| b | 1 | `run b` |",
        "| b | 5 | `train b` |",
    ]
    assert "fast" in lines


@pytest.mark.parametrize("update", [False, True])
def test_results_go_to_outputs_unless_the_tracked_file_is_asked_for(update, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "PUBLISHED", tmp_path / "tracked.md")
    monkeypatch.setattr(sys, "argv", ["reproduce", "cross_entropy_loss", *["--update"] * update])
    reproduce.main()
    own, tracked = tmp_path / "outputs" / "experiments" / "RESULTS.md", tmp_path / "tracked.md"
    assert (own.exists(), tracked.exists()) == (not update, update)
    assert "| cross_entropy_loss |" in (tracked if update else own).read_text()
    assert f"results  {tracked if update else own.relative_to(tmp_path)}" in capsys.readouterr().out


def test_report_prints_failed_findings_and_exits_with_status_1(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    report = Report("concept", "https://example.org")
    report.equal("sums", [1.0, 2.0], [1.0, 2.0 + 1e-9], 1e-8, "by hand")
    report.equal("sums, exactly", [1.0, 2.0], [1.0, 2.0 + 1e-9], 0.0, "by hand")
    report.mean("nan is no mean", [float("nan")], "1", at_least=0.0)
    assert [finding.holds for finding in report.findings] == [True, False, False]
    with pytest.raises(SystemExit, match="1"):
        report.finish()
    assert "DOES NOT HOLD: sums, exactly" in capsys.readouterr().out
    assert list((tmp_path / "outputs" / "experiments" / "concept").rglob("events.out.tfevents.*"))


def test_spread_is_mean_deviation_and_number_of_seeds():
    assert spread([1.0, 2.0, 3.0]) == "2 ± 1 (3 seeds)"
    assert spread([0.123456]) == "0.1235"
    assert spread([2548.07123, 2548.07124]) == "2548.071 ± 7e-06 (2 seeds)"
