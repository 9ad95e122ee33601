"""The argument run=FOLDER of the commands that use a trained model."""

import pytest

from dl_lab import evaluate, export, generate, predict


@pytest.mark.parametrize(
    ("command", "more"), [(evaluate, []), (export, ["to=onnx"]), (generate, []), (predict, ["path=new.csv"])]
)
def test_a_folder_whose_name_is_a_number_in_yaml_is_text(monkeypatch, tmp_path, capsys, command, more):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["command", "run=007", *more])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert "007/checkpoints/best.pt does not exist" in capsys.readouterr().err
