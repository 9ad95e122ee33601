"""Training does not import torch.compile. test_optimizers shows that steps are equal to those of torch."""

import subprocess
import sys

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
