"""A call leaves the process of its caller as it was, wherever and however it ends."""

import asyncio
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer
from support.commands import TINY, spawn, train

import dl_lab
from dl_lab.training import loop


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rude.py").write_text(RUDE)
    return tmp_path


# A module of a user that changes everything.
RUDE = """
import os, random, sys, warnings
import numpy as np, torch
os.environ["RUDE"] = "1"; os.environ.pop("HOME", None); os.chdir(".."); sys.path.append("rude"); sys.argv = []
warnings.simplefilter("ignore"); np.seterr(all="raise"); random.seed(1); np.random.seed(1); torch.manual_seed(1)
torch.set_default_dtype(torch.float64); torch.set_num_threads(3)
"""


def snapshot() -> dict[str, Any]:
    """Everything of this process that a library could change, as values that can be compared."""
    handlers = [number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)]
    return {
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "arguments": (id(sys.argv), list(sys.argv)),
        "path": (id(sys.path), list(sys.path)),
        "python": random.getstate(),
        "numpy": repr(np.random.get_state()),  # noqa: NPY002
        "numpy errors": np.geterr(),
        "torch": torch.get_rng_state().tolist(),
        "seed": torch.initial_seed(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
        "matmul": torch.get_float32_matmul_precision(),
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "signals": {number: signal.getsignal(number) for number in handlers},
        "warnings": list(warnings.filters),
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "streams": (sys.stdout, sys.stderr, sys.excepthook),
        "hydra": (GlobalHydra.instance(), GlobalHydra.instance().hydra, HydraConfig.instance().cfg),
        "stored": sorted(ConfigStore.instance().repo),
        "resolvers": dict(BaseContainer._resolvers),
        "children": [thread.name for thread in threading.enumerate() if type(thread).__name__ != "TMonitor"],
    }


def assert_unchanged(act: Callable[[], object]) -> None:
    GlobalHydra.instance(), HydraConfig.instance(), ConfigStore.instance()
    before = snapshot()
    act()
    after = snapshot()
    for name, value in before.items():
        assert after[name] == value, name


def fails(*overrides: str) -> None:
    with pytest.raises((dl_lab.ConfigError, dl_lab.Diverged)):
        dl_lab.run(*overrides)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dl_lab.Run:
    return dl_lab.run(*TINY, f"hydra.run.dir={tmp_path_factory.mktemp('run') / 'run'}")


ACTS = {
    "run": lambda run: dl_lab.run(*TINY),
    "rude": lambda run: dl_lab.run(*TINY, "imports=[rude]"),
    "deterministic": lambda run: dl_lab.run(*TINY, "deterministic=true", "threads=2"),
    "mistake": lambda run: fails("model=nothing"),
    "mistake in the data": lambda run: fails("imports=[rude]", "train.batch_size=9999"),
    "diverged": lambda run: fails("dataset=line", "optimizer=sgd", "optimizer.lr=1e30", "train.steps=9"),
    "load": lambda run: dl_lab.load(run.folder).model,
    "evaluate": lambda run: run.evaluate(),
    "predict": lambda run: run.predict(np.zeros((2, 4))),
    "figures": lambda run: run.figures,
}


@pytest.mark.parametrize("act", ACTS)
def test_a_call_changes_nothing_of_the_process(act, trained):
    assert_unchanged(lambda: ACTS[act](trained))


def test_a_call_changes_nothing_of_a_process_with_other_settings(folder, trained):
    generator = torch.get_rng_state()
    threads = torch.get_num_threads()
    OmegaConf.register_new_resolver("run_folder", str, replace=True)
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        torch.set_float32_matmul_precision("medium")
        torch.use_deterministic_algorithms(True, warn_only=True)
        np.seterr(all="raise")
        random.seed(5)
        with (
            warnings.catch_warnings(),
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16),
            torch.device("meta"),
            hydra.initialize_config_dir(str(folder), version_base="1.3"),
        ):
            warnings.simplefilter("error")
            assert_unchanged(lambda: dl_lab.run(*TINY))
            run = dl_lab.run(*TINY, "precision=float32")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("highest")
        torch.use_deterministic_algorithms(False)
        np.seterr(divide="warn", over="warn", under="ignore", invalid="warn")
        signal.signal(signal.SIGINT, before)
        OmegaConf.clear_resolver("run_folder")
        torch.set_rng_state(generator)
    assert run.metrics.equals(trained.metrics)


def interrupted(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    """Send signals to this process in the third step."""
    steps = iter(range(100))
    step = loop.train_step

    def interrupting(*args: Any) -> Any:
        for number in numbers if next(steps) == 2 else ():
            signal.raise_signal(number)
        return step(*args)

    monkeypatch.setattr(loop, "train_step", interrupting)


def test_control_c_returns_the_saved_run_which_can_be_continued(folder, trained, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupted(patch, signal.SIGINT)
        runs: list[dl_lab.Run] = []
        assert_unchanged(lambda: runs.append(dl_lab.run(*TINY)))
    (run,) = runs
    assert run.status == "stopped"
    assert "hint: continue with python -m dl_lab.train resume=" in capsys.readouterr().err
    other = dl_lab.run(*TINY, "seed=1", resume="auto")
    assert other.folder != run.folder
    again = dl_lab.run(*TINY, "tags=[again]", resume="auto")
    assert again == run
    assert again.config["tags"] == ["again"]
    assert again.metrics.equals(trained.metrics)


def test_a_second_control_c_interrupts(monkeypatch):
    interrupted(monkeypatch, signal.SIGINT, signal.SIGINT)

    def act() -> None:
        with pytest.raises(KeyboardInterrupt):
            dl_lab.run(*TINY)

    assert_unchanged(act)


def test_control_c_while_data_are_read_interrupts_and_leaves_no_folder(folder, monkeypatch):
    monkeypatch.setattr("dl_lab.training.setup.fingerprint", lambda _: signal.raise_signal(signal.SIGINT))

    def act() -> None:
        with pytest.raises(KeyboardInterrupt):
            dl_lab.run(*TINY)

    assert_unchanged(act)
    assert not (folder / "outputs").exists()


def test_a_termination_reaches_the_caller_when_the_run_is_saved(monkeypatch):
    interrupted(monkeypatch, signal.SIGTERM)
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        run = dl_lab.run(*TINY)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]
    assert run.status == "stopped"


def test_calls_in_threads_and_in_a_running_loop_return_the_same(trained):
    found: list[dl_lab.Run] = []
    threads = [threading.Thread(target=lambda: found.append(dl_lab.run(*TINY))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def main() -> None:
        found.append(dl_lab.run(*TINY))
        found.append(await asyncio.to_thread(dl_lab.run, *TINY))

    asyncio.run(main())
    assert len({run.folder for run in found}) == 4
    assert all(run.metrics.equals(trained.metrics) for run in found)


def test_calls_do_not_affect_each_other(trained):
    dl_lab.run(*TINY, "precision=float64", "seed=3", "deterministic=true", "threads=2")
    fails("model=nothing")
    assert dl_lab.run(*TINY).metrics.equals(trained.metrics)


@pytest.mark.faults  # processes of their own take seconds
def test_a_hydra_application_can_call(folder, trained):
    """Its configurations have the names of ours, and its own job goes on."""
    (folder / "app.py").write_text(
        "import hydra, dl_lab\n"
        "from hydra.core.config_store import ConfigStore\n"
        "from hydra.core.hydra_config import HydraConfig\n"
        "for group in (None, 'model', 'dataset', 'train'):\n"
        "    for name in ('config', 'mlp', 'iris', 'default'):\n"
        "        ConfigStore.instance().store(name=name, group=group, node={'own': 3})\n"
        "@hydra.main(version_base=None, config_name='config')\n"
        "def main(config):\n"
        "    before = HydraConfig.get().runtime.output_dir\n"
        f"    run = dl_lab.run({', '.join(map(repr, TINY))})\n"
        "    assert config.own == 4 and HydraConfig.get().runtime.output_dir == before\n"
        f"    assert run.metrics.equals(dl_lab.load({str(trained.folder)!r}).metrics)\n"
        "    print('done')\n"
        "main()\n"
    )
    ended = spawn(folder, "app.py", "own=4", "hydra.run.dir=app")
    assert ended.stdout.endswith("done\n"), ended.stderr


def test_the_command_still_works_after_a_call(folder, trained):
    dl_lab.run(*TINY)
    assert train(folder / "command", *TINY).status == 0


@pytest.mark.faults
def test_the_first_use_of_a_name_changes_nothing_of_the_process(folder):
    """In a process of its own, which has imported no library yet. These add filters for their own warnings."""
    look = (
        "import os, random, signal, sys, logging\n"
        "def look():\n"
        "    return [dict(os.environ), sys.argv, list(sys.path), random.getstate(), signal.getsignal(signal.SIGINT),\n"
        "            list(logging.root.handlers), logging.root.level, os.getcwd()]\n"
        "before = look()\n"
        "import dl_lab\n"
        f"dl_lab.run({', '.join(map(repr, TINY))}, data=None).metrics\n"
        "print([[one, other] for one, other in zip(before, look()) if one != other])"
    )
    assert spawn(folder, "-c", look).stdout.splitlines()[-1] == "[]"
