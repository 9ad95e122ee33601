"""The sizes of files and functions. import-linter checks the layers of packages, ruff how modules are imported."""

import ast
from pathlib import Path

import pytest

import dl_lab

PACKAGE = Path(dl_lab.__file__).parent


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_has_at_most_300_lines_and_functions_have_60(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} at line {node.lineno}"
