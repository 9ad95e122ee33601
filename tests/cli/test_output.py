"""Commands whose output cannot be written end in one line, whatever they print."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import TINY, train

COMMANDS = {
    "help": ["-m", "dl_lab.train", "--help"],
    "run": ["-m", "dl_lab.train", *TINY],
    "sweep": ["-m", "dl_lab.train", *TINY, "-m", "seed=0,1", "hydra/launcher=vectorized", "hydra.launcher.processes=1"],
    "evaluate": ["-m", "dl_lab.evaluate", "run=run"],
    "compare": ["-m", "dl_lab.compare", "run"],
    "concept": ["-m", "experiments.tensors"],
    "reproduce": ["-m", "experiments.reproduce", "--help"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    train(folder, *TINY, "hydra.run.dir=run")
    return folder


@pytest.mark.faults
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("end", ["> /dev/full", "| head -n 1", ">&-", "2>&-", "> ascii.txt"])
def test_the_output_may_end_anywhere(folder, command, end, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # argparse ignores errors of what it writes at once
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    line = f'"$0" "$@" {end}; exit ${{PIPESTATUS[0]}}'
    ended = subprocess.run(
        ["bash", "-c", line, sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1 if "full" in end else ended.returncode in ((0, 1) if "head" in end else (0,)), ended
    assert "Traceback" not in ended.stderr
    assert "Exception" not in ended.stderr
    if "full" in end:
        assert "No space left on device" in ended.stderr.splitlines()[-1]
