"""Training does not import torch.compile. test_optimizers shows that steps are equal to those of torch."""

import subprocess
import sys

import pytest
import torch

from dl_lab.core import eager_optim

CODE = """
import sys
sys.argv[1:] = ["train.steps=2", "optimizer={optimizer}", "train.max_grad_norm=1"]
from dl_lab.train import main
main()
print("imported:", sorted({{"torch._dynamo", "torch._inductor", "sklearn", "torchvision"}} & set(sys.modules)))
"""


def test_training_on_digits_imports_neither_the_compiler_nor_scikit_learn_nor_torchvision(tmp_path):
    line = [sys.executable, "-c", CODE.format(optimizer="adam")]
    ended = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "imported: []" in ended.stdout


@pytest.mark.parametrize("value", [torch.zeros(3), torch.zeros(1), torch.ones(4).double(), torch.ones(4).to_sparse()])
def test_a_fused_kernel_gets_no_state_that_it_would_read_beyond_its_end(value):
    with pytest.raises(TypeError, match="exp_avg_sq"):
        restored(value)


@pytest.mark.parametrize("value", [torch.ones(1).expand(4), torch.ones(8)[::2]])
def test_a_fused_kernel_gets_its_state_without_gaps(value):
    assert restored(value).equal(torch.ones(4))
    assert restored(value).is_contiguous()


def restored(value: torch.Tensor) -> torch.Tensor:
    parameter = torch.nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.Adam([parameter], fused=True)
    parameter.grad = torch.ones(4)
    eager_optim.step(optimizer)
    saved = optimizer.state_dict()
    saved["state"][0]["exp_avg_sq"] = value
    eager_optim.restore(optimizer, saved)
    return optimizer.state[parameter]["exp_avg_sq"]
