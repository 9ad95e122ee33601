"""Models that cannot be exported, or not whole, are named in one line; others keep their numbers and names."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from support.commands import TINY, Ended, command, train
from support.exports import by_script, exported

from dl_lab import export
from dl_lab.inference.exporting.weights import rebuilt
from dl_lab.inference.trained import Trained, load_trained

USERS = """
import torch
from torch import nn
from dataclasses import dataclass
from dl_lab.registry import MODELS

@dataclass
class Config:
    how: str

@MODELS.register("mine", Config)
class Mine(nn.Module):
    def __init__(self, config, spec, make_dropout):
        super().__init__()
        self.how = config.how
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, spec.num_outputs)
        self.again = self.first  # shared
        self.register_buffer("count", torch.zeros(()), persistent=False)
        self.constant = torch.arange(8.0)

    def forward(self, x):
        if self.training:
            self.count += 1
        h = self.again(x) + self.constant * self.count
        if self.how == "control" and h.sum() > 0:
            h = h * 2
        if self.how == "loop":
            h = torch.stack([row * 2 for row in h])
        if self.how == "random":
            h = h + torch.randn_like(h)
        return self.last(h.relu())
"""


def users_model(folder: Path, how: str) -> Path:
    (folder / "conf" / "model").mkdir(parents=True)
    (folder / "mine.py").write_text(USERS)
    (folder / "conf/model/mine.yaml").write_text("name: mine\nhow: plain\n")
    mine = ("--config-dir", "conf", "imports=[mine]", "model=mine", f"model.how={how}")
    return train(folder, *mine, *TINY).run


def ended(run: Path, to: str, *arguments: str) -> Ended:
    return command(export.main, run.parent, f"run={run}", f"to={to}", *arguments)


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ("control", 2, "the model cannot be exported"),
        ("loop", 2, "your code specialized it"),
        ("random", 1, "computes other outputs"),
    ],
)
def test_a_model_that_cannot_be_exported_is_one_line_and_its_weights_can(tmp_path, how, status, reason):
    run = users_model(tmp_path, how)
    refused = ended(run, "torch", "imports=[mine]")
    assert (refused.status, refused.out, refused.err.count("\n")) == (status, "", 1)
    assert reason in refused.err
    assert "; hint: " in refused.err
    assert not (run / "export/torch").exists()
    folder = exported(run, "safetensors", "imports=[mine]", notes=reason)
    assert not (folder / "predict.py").exists()
    assert_rebuilt(load_trained(run), folder)


def assert_rebuilt(trained: Trained, folder: Path) -> None:
    """The weights are those of the run, also as other programs read them."""
    inputs = torch.rand(3, 4, dtype=torch.float64)
    first, again = (torch.cat([*each.outputs(inputs)]) for each in (trained, rebuilt(folder)))
    assert torch.equal(first, again)
    weights = load_file(folder / "model.safetensors")
    assert weights.keys() < trained.model.state_dict().keys()  # the shared ones are stored once
    assert all(
        torch.equal(value, weights[name]) for name, value in trained.model.state_dict().items() if name in weights
    )


def test_a_model_of_the_user_with_shared_weights_and_other_buffers(tmp_path):
    run = users_model(tmp_path, "plain")
    folder = exported(run, "safetensors", "imports=[mine]")
    trained = load_trained(run)
    assert_rebuilt(trained, folder)
    assert trained.model.count > 0
    (tmp_path / "rows.csv").write_text("sepal_length,sepal_width,petal_length,petal_width\n5.1,3.5,,0.2\n")
    rows = np.array([[5.1, 3.5, trained.preprocessing.columns[2]["fill"], 0.2]])
    expected = torch.cat([*trained.outputs(trained.preprocessing.stored(rows))]).double().softmax(1)[0]
    (found,) = by_script(folder, tmp_path / "rows.csv")
    assert list(found["species"].values()) == pytest.approx(expected.tolist(), abs=1e-6)  # float32


def test_names_of_heads_are_those_of_outputs_even_if_other_values_have_them(tmp_path):
    rows = [f"{row / 7},{'ab'[row % 2]},{'xy'[row % 3 > 0]},{row}" for row in range(40)]
    (tmp_path / "table.csv").write_text("\n".join(["size,linear,features,network.head.bias", *rows]) + "\n")
    targets = "dataset.targets=[linear,features,network.head.bias]"
    run = train(tmp_path, *TINY, "dataset=table", "dataset.path=table.csv", targets).run
    model = onnx.load(exported(run, "onnx") / "model.onnx")
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert [(each.name, each.shape) for each in session.get_inputs()] == [("features", ["batch", 1])]
    found = {each.name: (each.shape, each.type) for each in session.get_outputs()}
    assert found == {
        "network.head.bias": (["batch", 1], "tensor(double)"),
        "linear": (["batch", 2], "tensor(float)"),
        "features_": (["batch", 2], "tensor(float)"),
    }


def test_a_language_model_takes_texts_of_any_length(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat, and the rat sat too.\n" * 40)
    small = ("model.num_layers=1", "model.num_heads=2", "model.embedding_size=8", "model.context_length=12")
    text = ("dataset=text", "dataset.path=text.txt", "dataset.context_length=12", "dataset.tokenizer=bpe")
    run = train(tmp_path, *TINY[1:], *text, "model=transformer", *small).run
    folder, trained = exported(run, "safetensors"), load_trained(run)
    assert len(load_file(folder / "model.safetensors").keys() & {"embedding.weight", "head.weight"}) == 1  # tied
    tokenizer = trained.preprocessing.tokenizer
    assert tokenizer is not None
    with torch.no_grad():
        expected = trained.model(tokenizer.encode("the cät")[None])[0, -1].softmax(0)
    (found,) = by_script(folder, "the cät")
    (values,) = found.values()
    assert list(values.values()) == pytest.approx(expected.tolist(), abs=1e-6)  # float32
