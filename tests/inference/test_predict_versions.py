"""Predictions agree between versions of torch: DL_LAB_OTHER_PYTHON is an interpreter with another one."""

import os
import subprocess
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from support.models import MODELS

from dl_lab.inference.predictions import predict_file

OTHER = os.environ.get("DL_LAB_OTHER_PYTHON")


@pytest.mark.skipif(OTHER is None, reason="DL_LAB_OTHER_PYTHON=python names no other interpreter")
@pytest.mark.parametrize("name", MODELS)
def test_another_version_of_torch_has_the_same_predictions(tmp_path, name):
    trained, test = MODELS[name](tmp_path)
    predict_file(trained, test, tmp_path / "own.parquet")
    line = [
        str(OTHER),
        "-m",
        "dl_lab.predict",
        f"run={trained.folder}",
        f"path={test}",
        "out=other.parquet",
        "device=cpu",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(line, cwd=tmp_path, check=True, env=environment, capture_output=True, timeout=120)
    assert_frame_equal(
        pl.read_parquet(tmp_path / "other.parquet"), pl.read_parquet(tmp_path / "own.parquet"), rel_tol=1e-6
    )
