"""Claims of experiments, checked on run folders written here."""

import json
import re
from pathlib import Path

import pytest
import yaml
from support.configs import choices, parsed

from dl_lab.config.compose import CONF
from dl_lab.core.errors import ConfigError
from experiments.support import claims, results_table
from experiments.support.findings import Report, spread


def folder(root: Path, number: int, accuracy: float | None, **config: object) -> claims.Run:
    """A run folder whose best checkpoint has this test accuracy; None: it diverged before its first validation."""
    path = root / str(number)
    (path / ".hydra").mkdir(parents=True)
    (path / ".hydra" / "config.yaml").write_text(yaml.safe_dump({"optimizer": {"name": "sgd"}, **config}))
    summary = {"test": None if accuracy is None else {"accuracy": accuracy}}
    (path / "summary.json").write_text(json.dumps(summary))
    line = {"step": 1, "epoch": 1.0, "split": "train", "loss": 2.5}
    (path / "metrics.jsonl").write_text(json.dumps({**line, "loss": 3.0}) + "\n" + json.dumps(line) + "\n")
    return claims.Run(path)


@pytest.fixture
def runs(tmp_path):
    """Three seeds of two dropouts: .80 .82 .84 without, .81 .84 .83 with."""
    found = []
    for name, accuracies in (("none", (0.80, 0.82, 0.84)), ("dropout", (0.81, 0.84, 0.83))):
        for seed, accuracy in enumerate(accuracies):
            found.append(folder(tmp_path, len(found), accuracy, seed=seed, dropout={"name": name, "p": 0.5}))
    return found


def claim(**fields: object) -> claims.Claim:
    return claims.Claim(statement="s", source="https://example.org", metric="test/accuracy", **fields)


def test_a_mean_is_held_against_what_was_published(runs):
    finding = claim(of={"dropout": "none"}, published=0.825, within=0.01).check(runs)
    assert finding.holds
    assert finding.measured == "0.82 ± 0.02 (3 seeds)"
    assert finding.published == "test/accuracy: 0.825 ± 0.01"
    assert not claim(of={"dropout": "none"}, published=0.835, within=0.01).check(runs).holds


def test_a_difference_is_paired_by_seed(runs):
    """By hand: +.01, +.02, -.01; their mean is .0067."""
    difference = claim(of={"dropout": "dropout"}, minus={"dropout": "none"}, at_least=0.0)
    assert difference.values(runs) == pytest.approx([0.01, 0.02, -0.01])
    assert difference.values(runs[::-1]) == pytest.approx([0.01, 0.02, -0.01])
    assert difference.check(runs).holds
    assert not claim(of={"dropout": "dropout"}, minus={"dropout": "none"}, at_least=0.007).check(runs).holds


def test_seeds_are_counted_one_by_one(runs):
    pair = {"of": {"dropout": "dropout"}, "minus": {"dropout": "none"}, "at_least": 0.0}
    assert claim(**pair, in_seeds=2).check(runs).holds
    assert not claim(**pair, in_seeds=3).check(runs).holds


def test_keys_of_lists_and_of_numbers_select_runs(tmp_path):
    run = folder(tmp_path, 0, 0.9, seed=0, model={"name": "mlp", "hidden_sizes": [32, 8]}, dropout={"p": 0.5})
    assert run.matches({"model": "mlp", "model.hidden_sizes": "[32, 8]", "dropout.p": 0.5})
    assert run.matches({"model.hidden_sizes": [32, 8]})
    assert not run.matches({"model.hidden_sizes": [32]})
    with pytest.raises(ConfigError, match=r"dropout\.p"):
        run.matches({"dropout.q": 1})


def test_the_last_training_point_is_read_from_the_curve(tmp_path):
    assert folder(tmp_path, 0, 0.9, seed=0).metric("train/loss") == 2.5


def test_a_run_that_did_not_end_makes_a_mean_fall(tmp_path, runs):
    runs.append(folder(tmp_path, 9, None, seed=3, dropout={"name": "none", "p": 0.5}))
    finding = claim(of={"dropout": "none"}, at_least=0.0).check(runs)
    assert not finding.holds
    assert "1 of 4 runs did not end" in finding.measured


def test_a_claim_about_no_run_falls(runs):
    assert not claim(of={"dropout": "spatial"}, at_least=0.0).check(runs).holds


def test_a_seed_without_its_pair_is_our_mistake(runs):
    with pytest.raises(AssertionError, match="seeds"):
        claim(of={"dropout": "dropout"}, minus={"dropout": "none"}, at_least=0.0).check(runs[:-1])


def test_an_unknown_key_of_a_claim_is_told(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("claim: {takes: 1, shows: [{statement: s, source: u, metrik: test/loss}]}")
    with pytest.raises(ConfigError, match="metrik"):
        claims.read(path)


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_experiment_is_valid_and_its_claims_can_be_read(name):
    parsed(f"experiment={name}")
    experiment = claims.read(Path(CONF) / "experiment" / f"{name}.yaml")
    if experiment is not None:
        assert experiment.takes > 0
        for each in experiment.claims:
            low, high = each.bounds()
            assert low <= high
            assert re.search(r"https://|doi:|\b(18|19|20)\d\d\b", each.source), "a page, or a paper with its year"


def test_rows_that_a_command_made_replace_those_before_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(results_table, "RESULTS", tmp_path / "RESULTS.md")
    results_table.write_section("Speed", "fast")
    header = ("concept", "measured", "command")
    results_table.write_rows("Concepts", header, "b", "run b", ["| b | 1 | `run b` |"])
    results_table.write_rows("Concepts", header, "b", "train b", ["| b | 2 | `train b --launcher x` |"])
    results_table.write_rows("Concepts", header, "a", "run a", ["| a | 3 | `run a` |", "| a | 4 | `run a` |"])
    results_table.write_rows("Concepts", header, "b", "train b", ["| b | 5 | `train b` |"])
    lines = (tmp_path / "RESULTS.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("| ")] == [
        "| concept | measured | command |",
        "| a | 3 | `run a` |",
        "| a | 4 | `run a` |",
        "| b | 1 | `run b` |",
        "| b | 5 | `train b` |",
    ]
    assert "fast" in lines


def test_a_proof_reports_what_fell_and_exits_with_1(tmp_path, monkeypatch, capsys):
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


def test_a_spread_gives_mean_deviation_and_seeds():
    assert spread([1.0, 2.0, 3.0]) == "2 ± 1 (3 seeds)"
    assert spread([0.123456]) == "0.1235"
    assert spread([2548.07123, 2548.07124]) == "2548.071 ± 7e-06 (2 seeds)"
