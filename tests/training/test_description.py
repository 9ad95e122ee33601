"""The lines at the start and the end of a run."""

import subprocess

import pytest
from support.commands import TINY, train
from torch import nn

from dl_lab.core.formatting import format_metrics
from dl_lab.training.description import model_line


class Scaled(nn.Module):
    """A layer of a user, with and without layers of its own."""

    def __init__(self, *inner: nn.Module):
        super().__init__()
        self.scale = nn.Parameter(nn.init.ones_(nn.Linear(2, 3).weight))
        self.inner = nn.ModuleList(inner)


tied = nn.Linear(3, 3)


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (nn.Linear(3, 2, bias=False), "Linear(3, 2); 6 parameters"),
        (nn.Sequential(nn.Conv2d(1, 4, (3, 5)), nn.ReLU(), nn.BatchNorm2d(4)), "Conv2d(1, 4, 3x5), BatchNorm2d(4); 72"),
        (nn.Sequential(*[nn.Sequential(nn.Linear(3, 3), nn.Tanh())] * 3), "Linear(3, 3); 12 parameters"),
        (nn.Sequential(*(nn.Linear(3, 3) for _ in range(3))), "3 x Linear(3, 3); 36 parameters"),
        (Scaled(), "Scaled(scale 3x2); 6 parameters"),
        (Scaled(Scaled(nn.Linear(1, 1)), Scaled(nn.Linear(1, 1))), "scale 3x2, 2 x Scaled; 22 parameters"),
        (Scaled(tied, tied), "scale 3x2, Linear(3, 3); 18 parameters"),
        (nn.Embedding(5, 3).requires_grad_(False), "Embedding(5, 3); 15 parameters (0 of them trained)"),
        (nn.LSTM(3, 4), "LSTM(3, 4); 144 parameters"),
        (
            nn.Sequential(*(nn.Linear(size, size + 1) for size in range(10, 30))),
            "Linear(10, 11), Linear(11, 12), Linear(12, 13), ... (14 more), Linear(27, 28)",
        ),
    ],
)
def test_a_model_is_described_by_the_layers_with_parameters(model, line):
    assert model_line("own", model).startswith(f"own: {line}")


def test_the_lines_at_the_start_say_what_is_trained_and_on_what(tmp_path):
    start = train(tmp_path, *TINY, "hydra.run.dir=run").out.split("\nstep ")[0].splitlines()
    assert start[:2] == [
        "model    mlp: Linear(4, 128), Linear(128, 3); 1,027 parameters",
        "data     iris (bundled with scikit-learn): 105 training, 15 validation and 30 test examples of 4 features; "
        "3 classes (setosa, versicolor, virginica)",
    ]
    assert start[2].startswith("device   cpu, ")
    assert start[2].endswith(", float32")
    assert start[3:] == [
        "train    adam with lr 0.001, batch size 10, 6 steps (0.5455 epochs), validation every 3 steps",
        f"folder   {tmp_path / 'run'}",
    ]
    assert "\nresume   continues from step 6 of 9\n" in train(tmp_path, "resume=run", "train.steps=9").out
    (tmp_path / "run" / "summary.json").unlink()
    auto = (*TINY, "train.steps=9", "resume=auto", "hydra.run.dir=run")
    assert train(tmp_path, *auto).out.startswith("resume=auto continues run\nmodel ")
    assert train(tmp_path, *auto[:-1], "seed=1").out.startswith("resume=auto starts a new run: none ")


def test_the_next_commands_are_those_of_the_run_and_a_shell_reads_them(tmp_path):
    folder = tmp_path / "my 'new' $HOME run \u00e9 ~"
    table = tmp_path / "rows.csv"
    table.write_text("x,y\n" + "".join(f"{number},{number % 3}\n" for number in range(30)))
    given = ("dataset=table", f"dataset.path={table}", "dataset.targets=[y]", "dataset.test=0", *TINY[1:])
    ended = train(tmp_path, *given, f"hydra.run.dir={folder}")
    assert ended.status == 0, ended.err
    assert f"data     table ({table}): " in ended.out
    _, look, evaluate, predict, *_ = ended.out[ended.out.index("\nrun ") + 1 :].splitlines()
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {look[9:]} {evaluate[9:]} {predict[9:]}"], capture_output=True
    )
    assert words.stdout.decode().splitlines() == [
        *("tensorboard", "--logdir", str(folder)),
        *("python", "-m", "dl_lab.evaluate", f"run={folder}", "split=validation"),
        *("python", "-m", "dl_lab.predict", f"run={folder}", "path=NEW"),
    ]


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (0.97493, (0.95312, 0.98665), "0.975 (95 % 0.953 to 0.987)"),
        (0.97493, (0.97174, 0.97777), "0.9749 (95 % 0.9717 to 0.9778)"),
        (3153.2, (2702.1, 3604.3), "3153 (95 % 2702 to 3604)"),
        (1.0, (1.0, 1.0), "1"),
        (float("nan"), (float("nan"), float("nan")), "nan"),
        (0.12345, None, "0.1235"),
    ],
)
def test_a_metric_has_the_digits_that_its_interval_supports(value, interval, text):
    assert format_metrics({"m": value}, {} if interval is None else {"m": interval}) == f"m {text}"


def test_a_run_that_still_improves_can_be_longer_with_the_same_rates_and_other_examples_to_validate_on(tmp_path):
    assert "train.steps=12" in train(tmp_path, *TINY).out.splitlines()[-1]
    assert "longer " not in train(tmp_path, *TINY, "train.one_batch=true").out
    assert "longer " not in train(tmp_path, *TINY, "schedule=cosine").out
