"""python -m dl_lab.predict run=FOLDER path=NEW [out=predictions.csv] [checkpoint=best]: predict with a trained run."""

import sys
from pathlib import Path
from typing import Any, Literal

from dl_lab.cli import app, arguments
from dl_lab.core.errors import ConfigError, counted
from dl_lab.core.paths import user_path
from dl_lab.core.schema import Schema

HELP = """Predict with a run's checkpoint: python -m dl_lab.predict run=FOLDER path=NEW [key=value ...]

  run=FOLDER        a run folder (FOLDER alone, too), such as outputs/2026-11-22/10-00-00
  path=NEW          a table with the columns of the training data, in any order and without targets; a picture or a
                    folder of pictures; or a text file, with a prediction for each line
  out=FILE          the file to write: csv, tsv, parquet or jsonl; replaces a file of this name.
                    Default: predictions.csv, which replaces only earlier predictions
  checkpoint=best   best or last
  device=auto       auto, cpu, cuda, cuda:1 or mps
  imports=[]        your modules, if the run was trained with imports
  dataset.separator=auto ...     how the table is written, if not as the training data: also encoding, header, decimal,
                    thousands, percent and missing
  dataset.image_folder=FOLDER    the folder of the pictures that a table lists; default: the folder of the table

Columns of the predictions:
  classification    TARGET, the most probable class; TARGET/CLASS, the probability of each class
  multi-label       LABEL, 0 or 1; LABEL/probability
  regression        TARGET, in its unit
  language model    nats, the mean per token; perplexity; next, the most probable next token; next/probability
"""

OUT = "predictions.csv"
DEFAULTS: dict[str, Any] = {"out": None, "checkpoint": "best", "device": "auto", "imports": [], "dataset": {}}
WIDEST = 8  # columns that are printed


class PredictConfig(Schema):
    run: str
    path: str
    out: str | None
    checkpoint: Literal["best", "last"]
    device: str
    imports: list[str]
    dataset: dict[str, Any]


def main() -> None:
    """Write the predictions, and print the first ones."""
    with app.exits():
        if arguments.answered(sys.argv[1:], HELP):
            return
        predict(sys.argv[1:])


def predict(given: list[str]) -> Path:
    """Write the predictions that the arguments ask for, and print the first ones. Returns the file.

    Raises:
        ConfigError: for a wrong argument, a folder that does not hold a run, or inputs that do not fit.
    """
    keys = ("run", "path", "out", "checkpoint", "device", "imports", *arguments.TABLE_KEYS)
    values = {**DEFAULTS, **arguments.values(given, keys, texts=("run", "path", "out"))}
    if "path" not in values:
        raise ConfigError(
            "path is missing; allowed: path=NEW, a table, a folder of pictures or a text; hint: see --help"
        )

    from dl_lab.config.parse import typed  # after the arguments are known to be readable
    from dl_lab.inference.blocks import options_of
    from dl_lab.inference.predictions import predict_file
    from dl_lab.inference.trained import load_trained
    from dl_lab.inference.writing import check_out

    options: PredictConfig = typed(PredictConfig, values, "")
    path, out = user_path(options.path, "path"), user_path(options.out or OUT, "out")
    check_out(out, path, replaces=options.out is not None)
    trained = load_trained(user_path(options.run, "run"), options.checkpoint, options.device, options.imports)
    count, first = predict_file(trained, path, out, options_of(options.dataset))
    print("\n".join(shown(first.columns, first.rows())))
    print(f"{out}: {counted(count, 'prediction')} ({options.checkpoint} checkpoint, step {trained.step})")
    return out


def _text(cell: str) -> str:
    from dl_lab.data.tables.report import shortened

    return shortened(cell) if cell.strip() else repr(cell)


def shown(names: list[str], rows: list[tuple[Any, ...]]) -> list[str]:
    """Lines with the first columns of rows."""
    from dl_lab.data.tables.report import aligned, shortened

    more = [f"... {len(names) - WIDEST} more"] if len(names) > WIDEST else []
    cells = [[f"{cell:.6g}" if isinstance(cell, float) else _text(str(cell)) for cell in row] for row in rows]
    table = [[shortened(name) for name in names], *cells]
    return aligned([[*row[:WIDEST], *(more if not place else [])] for place, row in enumerate(table)], right=())


if __name__ == "__main__":
    main()
