"""Code of a user that exits, fails or returns something else ends its own run, in a line that says what and where."""

import json
import math
import re
from hashlib import sha256
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from omegaconf.errors import OmegaConfBaseException
from support.commands import TINY, Ended, train
from support.sweeps import add_model, by_number

from dl_lab.config.messages import explain
from dl_lab.core.errors import UserCodeError
from dl_lab.data.dataset import Data
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import InMemory, Streamed
from dl_lab.nn.functional import cross_entropy
from dl_lab.training.checks import check_data
from dl_lab.training.tasks.task import Task

MODEL = """
import sys

import torch
from torch import nn

from dl_lab.core.schema import Schema
from dl_lab.registry import MODELS


class Config(Schema):
    fails: bool


@MODELS.register("own", Config, kinds={{"features"}})
class Own(nn.Module):
    def __init__(self, config, spec, make_dropout):
        super().__init__()
        self.fails, self.layer = config.fails, nn.Linear(*spec.input_shape, spec.num_outputs)

    def forward(self, inputs):
        outputs = self.layer(inputs)
        if self.fails:
            {line}
        return outputs
"""
OWN = ("--config-dir", "own", "imports=[own]", "model=own", *TINY)
EXITS = ["sys.exit(0)", "sys.exit('done')", "quit()", "raise GeneratorExit"]


def own(folder: Path, line: str, *arguments: str) -> Ended:
    """Train the user's model, in which `line` is line 24."""
    add_model(folder, "own", MODEL.format(line=line), "fails: true")
    return train(folder, *OWN, *arguments)


@pytest.mark.parametrize("line", EXITS)
def test_an_exit_is_a_failure_in_one_line(tmp_path, line):
    ended = own(tmp_path, line)
    assert ended.status == 1
    assert ended.err.startswith("error: the code of a user ended the run: ")
    assert "(own.py, line 24); hint: raise an error instead" in ended.err
    assert ended.summary["status"] == "failed"
    content = (tmp_path / "own.py").read_bytes()
    assert ended.summary["imports"] == {"own": sha256(b"own.py\n%d\n" % len(content) + content).hexdigest()}


@pytest.mark.parametrize(
    "launcher", ["in_turn", pytest.param("processes", marks=pytest.mark.faults), "vectorized", "basic"]
)
def test_an_exit_ends_only_its_own_job(tmp_path, launcher):
    jobs = ("model.fails=true,false", "seed=0,1", f"hydra/launcher={launcher}", "hydra.sweep.dir=out")
    ended = own(tmp_path, "sys.exit(0)", "-m", *jobs)
    assert ended.status == 1
    assert "2 of 4 jobs failed" in ended.err
    assert [run.name for run in by_number(ended) if (run / "checkpoints" / "best.pt").exists()] == ["2", "3"]


# What a user's code raises; the reason in summary.json, and whether the command ends in one line.
RAISED = {
    "raise RuntimeError": ("RuntimeError (own.py, line 24)", False),
    "raise NotImplementedError": ("NotImplementedError (own.py, line 24)", False),
    "{}['a']": ("KeyError: 'a' (own.py, line 24)", False),
    "assert not outputs.numel()": ("AssertionError (own.py, line 24)", False),
    "__import__('omegaconf').OmegaConf.create({'a': '${b}'}).a": (
        "InterpolationKeyError: Interpolation key 'b' not found full_key: a object_type=dict (own.py, line 24)",
        False,
    ),
    "torch.load('w.pt')": ("FileNotFoundError: [Errno 2] No such file or directory: 'w.pt' (own.py, line 24)", True),
    "open('/')": ("IsADirectoryError: [Errno 21] Is a directory: '/' (own.py, line 24)", True),
    "raise PermissionError(13, 'Permission denied', 'w.pt')": (
        "PermissionError: [Errno 13] Permission denied: 'w.pt' (own.py, line 24)",
        True,
    ),
}


@pytest.mark.parametrize("line", RAISED)
def test_an_error_is_reported_as_what_it_is_with_its_place(tmp_path, line):
    reason, in_one_line = RAISED[line]
    add_model(tmp_path, "own", MODEL.format(line=line), "fails: true")
    if in_one_line:
        ended = train(tmp_path, *OWN)
        assert ended.err.startswith(
            f"error: {reason}; hint: correct this, then continue with python -m dl_lab.train resume="
        )
    else:
        with pytest.raises((RuntimeError, KeyError, AssertionError, OmegaConfBaseException)):  # with its traceback
            train(tmp_path, *OWN)
    assert f'"reason": "{reason}"' in next(tmp_path.rglob("summary.json")).read_text()


def test_an_error_without_text_does_not_split_a_stack(tmp_path):
    ended = own(tmp_path, "raise RuntimeError", "-m", "seed=0,1", "hydra/launcher=vectorized")
    assert "halves" not in ended.out
    assert ended.err.count("error: #") == 2
    assert "RuntimeError (own.py, line 24)" in ended.err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("def f(:", "SyntaxError: invalid syntax (broken.py, line 1)"),
        ("import sys; sys.exit(0)", "SystemExit: 0 (broken.py, line 1)"),
        ("import absent", "ModuleNotFoundError: No module named 'absent' (broken.py, line 1)"),
        ("\nabsent", "NameError: name 'absent' is not defined (broken.py, line 2)"),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused_in_one_line(tmp_path, content, reason):
    (tmp_path / "broken.py").write_text(content)
    ended = train(tmp_path, *TINY, "imports=[broken]")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert f"error: imports=broken cannot be imported ({reason}); allowed: " in ended.err


DATASET = """
import torch
from torch.utils.data import Dataset

from dl_lab.core.schema import Schema
from dl_lab.data.dataset import Data
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import Streamed
from dl_lab.registry import DATASETS


class Config(Schema):
    workers: int


class Examples(Dataset):
    def __getitem__(self, index):
        if index == 7:
            raise {kind}
        return torch.ones(4), 1


@DATASETS.register("own", Config, kinds={{"features"}}, tasks={{"classification"}})
def build(config, data_dir, seed):
    head = Head(name="class", task="classification", labels=("a", "b"))
    part = Streamed(Examples(), torch.arange(20), config.workers, torch.device("cpu"))
    return Data(spec=DataSpec(kind="features", input_shape=(4,), heads=(head,)), train=part, validation=part, test=None)
"""


@pytest.mark.parametrize(("kind", "workers"), [("StopIteration", 0), ("KeyError", 1)])
def test_an_error_of_an_example_fails_the_run_with_its_place(tmp_path, kind, workers):
    add_model(tmp_path, "own", DATASET.format(kind=kind), f"workers: {workers}", "dataset")
    with pytest.raises((RuntimeError, KeyError)):
        train(tmp_path, "--config-dir", "own", "imports=[own]", *TINY, "dataset=own", "model=linear")
    summary = next(tmp_path.rglob("summary.json")).read_text()
    assert '"status": "failed"' in summary
    assert {"StopIteration": "example 7", "KeyError": "(own.py, line 19"}[kind] in summary


OF_TYPE = """
import numpy as np
import torch

from dl_lab.core.schema import Schema
from dl_lab.data.dataset import Data
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import InMemory, Streamed
from dl_lab.registry import DATASETS


class Config(Schema):
    inputs: str
    targets: str
    streamed: bool


@DATASETS.register("own", Config, kinds={"features"}, tasks={"classification"})
def build(config, data_dir, seed):
    numbers = np.random.default_rng(0).integers(-3, 4, (40, 4))  # exact in every type
    inputs, targets = numbers.astype(config.inputs), (numbers.sum(1) > 0).astype(config.targets)
    if config.streamed:
        part = Streamed(list(zip(inputs, targets)), torch.arange(40), 0, torch.device("cpu"))
    else:
        part = InMemory(torch.from_numpy(inputs), torch.from_numpy(targets))
    head = Head(name="class", task="classification", labels=("a", "b"))
    return Data(spec=DataSpec(kind="features", input_shape=(4,), heads=(head,)), train=part, validation=part, test=None)
"""


def own_data(folder: Path, code: str, *arguments: str) -> Ended:
    """Train on the user's dataset."""
    add_model(folder, "own", code, "inputs: float32\ntargets: int64\nstreamed: true", "dataset")
    own = ("--config-dir", "own", "imports=[own]", *TINY, "dataset=own", "model=linear")
    return train(folder, *own, *arguments)


def test_a_dataset_of_several_tasks_without_the_key_is_refused(tmp_path):
    ended = own_data(tmp_path, OF_TYPE.replace('{"classification"})', '{"classification", "regression"})'))
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "dataset=own is registered with 2 tasks" in ended.err


@pytest.mark.parametrize("streamed", ["true", "false"])
def test_numbers_of_any_type_train_alike(tmp_path, streamed):
    types = ("dataset.inputs=float32,float64,float16", "dataset.targets=int64,int32,int16,uint8,bool")
    ended = own_data(tmp_path, OF_TYPE, "-m", f"dataset.streamed={streamed}", *types)
    assert (ended.status, len(ended.runs)) == (0, 15), ended.err
    assert len({(run / "metrics.jsonl").read_text() for run in ended.runs}) == 1


# What forward returns instead of (10, 3), and how the message names it.
RETURNED = {
    "return outputs, inputs": "tuple",
    "return {'logits': outputs}": "dict",
    "return": "NoneType",
    "return outputs.mean()": "()",
    "return outputs.mean((0, 1), keepdim=True)": "(1, 1)",
    "return outputs[:, 0]": "(10,)",
    "return outputs[:, None]": "(10, 1, 3)",
    "return torch.cat([outputs, outputs], 1)": "(10, 6)",
    "return outputs.argmax(1, keepdim=True).expand(-1, 3)": "(10, 3) of int64",
}


@pytest.mark.parametrize("line", RETURNED)
def test_what_a_model_returns_is_named_with_what_is_expected(tmp_path, line):
    ended = own(tmp_path, line)
    assert ended.status == 2
    expected = f"model=own returned {RETURNED[line]} for inputs (10, 4); allowed: (10, 3), floating point"
    assert ended.err == f"error: {expected}\n"


@pytest.mark.parametrize("line", ["return outputs[:, 0]", "return outputs.mean((0, 1), keepdim=True)"])
@pytest.mark.parametrize("launcher", ["in_turn", "vectorized"])
def test_regression_does_not_broadcast_what_a_model_returns(tmp_path, line, launcher):
    data = ("dataset=diabetes", "model.fails=false,true", f"hydra/launcher={launcher}")
    ended = own(tmp_path, line, "-m", *data)
    assert ended.status == 1
    assert "model=own returned (1" in ended.err
    assert "for inputs (10, 10); allowed: (10, 1), floating point" in ended.err
    assert "1 of 2 jobs failed" in ended.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("return outputs.detach()", "the loss does not depend on a weight that is trained; hint: "),
        (
            "nn.functional.instance_norm(outputs[:, :, None])",
            "a normalization layer cannot compute a variance from one",
        ),
        ("pass\n        self.layer = nn.LazyLinear(3)", "model=own has a lazy layer (layer.weight); allowed: "),
        ("pass\n        self.requires_grad_(False)", "model=own has 2 weights, none to be trained; allowed: "),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused_in_one_line(tmp_path, line, message):
    forward, _, built = line.partition("\n")
    code = MODEL.format(line=forward).replace("spec.num_outputs)\n", f"spec.num_outputs)\n{built}\n", 1)
    add_model(tmp_path, "own", code, "fails: true")
    ended = train(tmp_path, *OWN)
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert f"error: {message}" in ended.err


FLOATS, NUMBERS = torch.rand(20, 3), torch.arange(20) % 2
CLASS = Head(name="kind", task="classification", labels=("a", "b"))
PRICE = Head(name="price", task="regression", labels=("price",))
# Heads, inputs and targets of a dataset with features (3,); what is wrong.
WRONG = {
    "shape": ((CLASS,), FLOATS[:, :2], NUMBERS, "has inputs (20, 2) of float32; allowed: (20, 3), floating point"),
    "type": ((CLASS,), FLOATS.long(), NUMBERS, "has inputs (20, 3) of int64; allowed: (20, 3), floating point"),
    "number": ((CLASS,), FLOATS, NUMBERS[:19], "has targets (19,) of int64; allowed: (20,), class numbers"),
    "floats": ((CLASS,), FLOATS, NUMBERS.float(), "has targets (20,) of float32; allowed: (20,), class numbers"),
    "column": ((CLASS,), FLOATS, NUMBERS[:, None], "has targets (20, 1) of int64; allowed: (20,), class numbers"),
    "flat": ((PRICE,), FLOATS, FLOATS[:, 0], "has targets (20,) of float32; allowed: (20, 1), floating point"),
    "whole": ((PRICE,), FLOATS, NUMBERS[:, None], "has targets (20, 1) of int64; allowed: (20, 1), floating point"),
    "from 1": ((CLASS,), FLOATS, NUMBERS + 1, "example 1 of train has kind = 2; allowed: whole numbers from 0 to 1"),
    "negative": ((CLASS,), FLOATS, -NUMBERS, "example 1 of train has kind = -1; allowed: whole numbers from 0 to 1"),
    "two heads": ((CLASS, PRICE), FLOATS, FLOATS[:, :2], "of train has kind = "),
    "array": ((CLASS,), FLOATS.numpy(), NUMBERS, "has inputs ndarray; allowed: a dense tensor; hint: torch.as_tensor"),
    "list": ((CLASS,), FLOATS, NUMBERS.tolist(), "has targets list; allowed: a dense tensor; hint: torch.as_tensor"),
    "unsigned": ((CLASS,), FLOATS, (NUMBERS + 1).to(torch.uint32), "has kind = 2; allowed: whole numbers from 0 to 1"),
    "empty": ((CLASS,), FLOATS[:0], NUMBERS[:0], "train has no examples; allowed: a Split with at least one example"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_dataset_that_does_not_fit_its_spec_is_refused(case):
    heads, inputs, targets, message = WRONG[case]
    split = InMemory(inputs, targets)
    spec = DataSpec(kind="features", input_shape=(3,), heads=heads)
    with pytest.raises(UserCodeError, match=re.escape(message)):
        check_data(Data(spec=spec, train=split, validation=split, test=None), "own")


# Streamed examples that do not fit; what is wrong.
ODD = {
    "nan": ([1.0, math.nan], 0, "the dataset has examples with nan or inf"),
    "target": ([1.0, 2.0], math.inf, "the dataset has examples with nan or inf"),
    "none": (None, 0, "joined to a batch (default_collate: batch must contain"),
    "words": ("a", 0, "joined to a batch ('tuple' object has no"),
    "ragged": ([1.0] * 3, 0, "joined to a batch (stack expects each tensor"),
}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("case", ODD)
def test_streamed_examples_that_do_not_fit_are_refused_in_one_line(case, workers):
    inputs, target, message = ODD[case]
    bad = torch.tensor(inputs) if isinstance(inputs, list) else inputs
    examples = [(torch.ones(2) if isinstance(inputs, list) else bad, 0 * target), (bad, target)]
    others = set(active_children())  # of earlier tests
    with pytest.raises(UserCodeError) as raised:
        next(Streamed(examples, torch.arange(2), workers, torch.device("cpu")).everything(2))
    assert message in str(raised.value)
    assert "Traceback" not in str(raised.value)
    for worker in set(active_children()) - others:  # which were told to end, or would live until garbage is collected
        worker.join(30)
    assert set(active_children()) <= others


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("numbers", "dataset has inputs (10, 4) of int64; allowed: (10, 4), floating point"),
        ("numbers[:, :3] / 2", "has inputs (10, 3) of float32; allowed: (10, 4), floating point"),
        ("numbers[..., None] / 2", "has inputs (10, 4, 1) of float32; allowed: (10, 4), floating point"),
    ],
)
def test_streamed_inputs_that_do_not_fit_the_spec_are_refused(tmp_path, inputs, message):
    ended = own_data(
        tmp_path, OF_TYPE.replace("inputs, targets = numbers.astype(config.inputs)", f"inputs, targets = {inputs}")
    )
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert message in ended.err


@pytest.mark.parametrize("loss", [lambda a, b: (a - b) ** 2, lambda a, b: float((a - b).sum()), lambda a, b: None])
def test_a_loss_that_is_not_one_number_is_refused(loss):
    with pytest.raises(UserCodeError, match=r"loss returned (\(20, 1\)|float|NoneType); allowed: \(\), the sum"):
        Task(DataSpec(kind="features", input_shape=(3,), heads=(PRICE,)), {"regression": loss}).totals(
            FLOATS[:, :1], FLOATS[:, 1:2]
        )


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_outputs_that_are_not_finite_before_training_are_refused(tmp_path, value):
    ended = own(tmp_path, f"return outputs * 0 + float('{value}')")
    assert ended.status == 2
    assert ended.err.startswith("error: model=own has the loss nan before training, with its weights from initial")
    assert ended.err.count("\n") == 1
    assert ended.summary["status"] == "failed"


@pytest.mark.parametrize("launcher", ["in_turn", "vectorized"])
def test_only_members_that_are_not_finite_before_training_fail(tmp_path, launcher):
    swept = ("initializer=normal", "initializer.std=0.1,1e38", f"hydra/launcher={launcher}", "seed=0,1")
    ended = own(tmp_path, "return outputs", "-m", *swept)
    assert ended.status == 1
    statuses = [json.loads((run / "summary.json").read_text())["status"] for run in by_number(ended)]
    assert statuses == ["completed"] * 2 + ["failed"] * 2
    assert "2 of 4 jobs failed" in ended.err
    assert "before training, with its weights from initializer=normal; allowed: finite outputs" in ended.err


@pytest.mark.parametrize("number", [2, -1, -100])
def test_a_class_number_that_is_not_known_is_an_error_wherever_it_comes_from(number):
    task = Task(DataSpec(kind="features", input_shape=(3,), heads=(CLASS,)), {"classification": cross_entropy})
    with pytest.raises(IndexError) as raised:
        task.totals(FLOATS[:, :2], NUMBERS.index_fill(0, torch.tensor(3), number))
    assert explain(raised.value).startswith(f"the dataset has the class number {number}; allowed: 0 to ")


def test_float64_starts_from_float64_and_keeps_other_types(tmp_path):
    built = "self.register_buffer('on', torch.tensor([True])); self.register_buffer('n', torch.tensor([3]))"
    built += "; self.register_buffer('i', torch.tensor([0.1j])); self.register_buffer('x', torch.tensor([0.1]))"
    code = MODEL.format(line="pass").replace("spec.num_outputs)\n", f"spec.num_outputs)\n        {built}\n", 1)
    add_model(tmp_path, "own", code, "fails: false")
    common = ("precision=float64", "optimizer=sgd", "optimizer.lr=1e-300", "train.steps=1")
    ended = train(tmp_path, *OWN, *common, "initializer=constant", "initializer.value=0.1")
    saved = torch.load(ended.run / "checkpoints" / "last.pt")["model"]
    assert saved["layer.weight"].unique().tolist() == saved["x"].tolist() == [0.1]
    assert [saved[name].dtype for name in ("on", "n")] == [torch.bool, torch.int64]
    assert saved["i"].is_complex()
    ended = train(tmp_path / "drawn", *TINY, *common)
    drawn = torch.load(ended.run / "checkpoints" / "last.pt")["model"].values()
    assert all((weight != weight.float()).any() for weight in drawn)
    assert torch.get_default_dtype() == torch.float32
