"""The notebook of the guide runs from top to bottom, and is stored without outputs."""

from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

import dl_lab

NOTEBOOK = Path(dl_lab.__file__).parents[1] / "experiments" / "notebook.ipynb"


def texts(cell: nbformat.NotebookNode) -> str:
    """What a cell has printed and shown."""
    shown = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "\n".join(shown)


@pytest.mark.faults  # half a minute
def test_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    write_kernel_spec(str(tmp_path / "kernels" / "python3"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    first, figures, last = code[0], code[2], code[-1]
    assert "Run completed" in texts(first)
    assert "val/loss" in texts(first)
    assert "\r" not in texts(first)  # a bar that replaces itself, and is gone
    assert "%|" not in texts(first)
    assert figures.outputs[-1]["data"]["text/html"].count("<img") > 5
    assert "model=cn is not known (nearest: cnn)" in texts(last)
