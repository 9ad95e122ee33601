"""On a GPU, a run is the same run: the numbers of the CPU, bit-exact resume, stacks, and files that either can read."""

import json
from pathlib import Path

import pytest
import torch
from support.commands import Ended, command, train
from support.configs import choices

from dl_lab import evaluate
from dl_lab.core import devices
from dl_lab.inference.generation import generate
from dl_lab.inference.trained import load_trained

GPU = devices.available()[0]
EXACT = "float64" if GPU.startswith("cuda") else "float32"
CLOSE = {"float64": 1e-9, "float32": 1e-4}[EXACT]  # sums in another order; Apple GPUs have no float64
STEPS = ("train.steps=6", "train.validate_every=3", "train.log_every=2", "train.batch_size=10")
MODELS = {
    "linear": ("model=linear", "dataset=diabetes"),
    "logistic": ("model=logistic", "dataset=breast_cancer"),
    "mlp": ("model=mlp", "dataset=wine"),
    "deep_nn": ("model=deep_nn", "dataset=linnerud"),
    "cnn": ("model=cnn", "dataset=digits"),
    "transformer": ("model=transformer", "dataset=sorting", "model.num_layers=2", "model.embedding_size=32"),
}

pytestmark = pytest.mark.skipif(GPU == "cpu", reason="this machine has no GPU")


def numbers(ended: Ended) -> list[dict[str, float]]:
    """Return the numbers of metrics.jsonl but the times, one dictionary per line."""
    assert ended.status == 0, ended.err
    lines = [json.loads(line) for line in (ended.run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if isinstance(v, int | float) and "second" not in k} for line in lines]


def assert_close(ours: list[dict[str, float]], theirs: list[dict[str, float]], tolerance: float) -> None:
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("name", choices("model"))
def test_a_model_learns_what_it_learns_on_the_cpu(name, tmp_path):
    settings = (*MODELS[name], *STEPS, f"precision={EXACT}")
    cpu = train(tmp_path / "cpu", *settings, "device=cpu")
    gpu = train(tmp_path / "gpu", *settings, f"device={GPU}")
    assert_close(numbers(gpu), numbers(cpu), CLOSE)


def test_a_model_writes_the_text_that_it_writes_on_the_cpu(tmp_path):
    ended = train(tmp_path, *MODELS["transformer"], *STEPS, f"precision={EXACT}", "device=cpu")
    cpu, gpu = ("".join(generate(load_trained(ended.run, device=name), "0 1", 300)) for name in ("cpu", GPU))
    assert cpu == gpu


@pytest.mark.parametrize("name", choices("optimizer"))
def test_an_optimizer_takes_the_steps_of_the_cpu(name, tmp_path):
    settings = ("dataset=wine", *STEPS, f"optimizer={name}", f"precision={EXACT}", "train.max_grad_norm=1")
    cpu = train(tmp_path / "cpu", *settings, "device=cpu")
    gpu = train(tmp_path / "gpu", *settings, f"device={GPU}")
    assert_close(numbers(gpu), numbers(cpu), 1e-6 if name == "lbfgs" else CLOSE)  # its line search amplifies rounding


@pytest.mark.parametrize("name", choices("initializer"))
def test_an_initializer_draws_the_numbers_of_the_cpu(name, tmp_path):
    settings = ("dataset=wine", *STEPS, f"initializer={name}", f"precision={EXACT}")
    cpu = train(tmp_path / "cpu", *settings, "device=cpu")
    gpu = train(tmp_path / "gpu", *settings, f"device={GPU}")
    assert_close(numbers(gpu), numbers(cpu), CLOSE)


@pytest.mark.parametrize("name", MODELS)
def test_an_interrupted_run_continues_to_the_last_bit(name, tmp_path, monkeypatch):
    settings = (*MODELS[name], *STEPS, "dropout=dropout", f"device={GPU}", "deterministic=true")
    if name in ("linear", "logistic"):
        settings = tuple(key for key in settings if key != "dropout=dropout")
    whole = train(tmp_path / "whole", *settings)
    half = train(tmp_path / "half", *settings, "train.steps=3")
    resumed = train(tmp_path / "half", f"resume={half.run}", "train.steps=6")
    assert resumed.status == 0, resumed.err
    assert numbers(resumed)[-2:] == numbers(whole)[-2:]
    ours, theirs = (
        torch.load(run.run / "checkpoints" / "last.pt", map_location="cpu", weights_only=True)["model"]
        for run in (resumed, whole)
    )
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", EXACT])
@pytest.mark.parametrize("name", ["mlp", "cnn", "transformer"])
def test_a_member_of_a_stack_learns_what_it_learns_alone(name, precision, tmp_path):
    settings = (*MODELS[name], *STEPS, f"device={GPU}", f"precision={precision}")
    stacked = train(tmp_path / "stack", "-m", "hydra/launcher=vectorized", "optimizer.lr=0.01,0.003", *settings)
    alone = train(tmp_path / "alone", "optimizer.lr=0.003", *settings)
    assert stacked.status == 0, stacked.err
    member = Ended(0, "", "", [stacked.runs[1]])
    tolerance = {"float64": 1e-8, "float32": 1e-3, "bfloat16": 5e-2}[precision]  # eight bits of a bfloat16's mantissa
    assert_close(numbers(member), numbers(alone), tolerance)


def test_a_checkpoint_of_the_gpu_is_evaluated_on_the_cpu_and_the_other_way_around(tmp_path):
    settings = (*MODELS["cnn"], *STEPS, f"precision={EXACT}")
    for number, device in enumerate((GPU, "cpu")):
        folder = tmp_path / str(number)
        ended = train(folder, *settings, f"device={device}")
        evaluated = [command(evaluate.main, folder, f"run={ended.run}", f"device={where}") for where in ("cpu", GPU)]
        assert [each.status for each in evaluated] == [0, 0]
        assert evaluated[0].out.splitlines()[-3:] == evaluated[1].out.splitlines()[-3:]


@pytest.mark.parametrize("launcher", ["processes", "in_turn"])
def test_a_sweep_uses_the_gpu(launcher, tmp_path):
    ended = train(tmp_path, "-m", f"hydra/launcher={launcher}", "seed=0,1", "dataset=wine", *STEPS, f"device={GPU}")
    assert ended.status == 0, ended.err
    assert len(ended.runs) == 2


def test_a_full_gpu_is_one_line(tmp_path):
    ended = train(
        tmp_path, "dataset=digits", *STEPS, "model.hidden_sizes=[20000000]", "train.batch_size=full", f"device={GPU}"
    )
    assert ended.status in (1, 2)
    assert ended.err.count("error: ") == 1
    assert "memory" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch's own imports on newer Pythons
def test_a_compiled_run_learns_what_an_eager_one_learns(tmp_path: Path):
    settings = (*MODELS["mlp"], *STEPS, f"device={GPU}")
    eager, fast = (train(tmp_path / key, *settings, f"compile={key}") for key in ("false", "true"))
    assert_close(numbers(fast), numbers(eager), 1e-3)
