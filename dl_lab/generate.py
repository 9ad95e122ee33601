"""python -m dl_lab.generate run=FOLDER prompt="...": write text with a trained language model."""

import sys
from collections.abc import Iterator
from typing import Any, Literal

from dl_lab.cli import app, arguments
from dl_lab.core.errors import printable
from dl_lab.core.paths import user_path
from dl_lab.core.schema import Schema

HELP = """Write text with a language model: python -m dl_lab.generate run=FOLDER prompt="..." [key=value ...]

  run=FOLDER        a run folder (FOLDER alone, too), such as outputs/2026-11-22/10-00-00
  prompt=TEXT       what the text begins with; empty: the beginning of a line
  tokens=200        how many tokens follow the prompt
  temperature=0.8   divides the logits: below 1 likely tokens become likelier; 0 takes the likeliest each time
  top_k=50          draw from this many of the likeliest tokens; null: from all
  top_p=1           of these, draw from the fewest whose probabilities sum to top_p
  seed=0            the same seed writes the same text
  checkpoint=best   best or last
  device=auto       auto, cpu, cuda, cuda:1 or mps
  imports=[]        your modules, if the run was trained with imports
"""

MODEL: dict[str, Any] = {"checkpoint": "best", "device": "auto", "imports": []}
TEXT: dict[str, Any] = {"prompt": "", "tokens": 200, "temperature": 0.8, "top_k": 50, "top_p": 1.0, "seed": 0}


class ModelConfig(Schema):
    run: str
    checkpoint: Literal["best", "last"]
    device: str
    imports: list[str]


def main() -> None:
    """Print a text, each part as soon as it is written."""
    with app.exits():
        if arguments.answered(sys.argv[1:], HELP):
            return
        for part in written(sys.argv[1:]):
            print(printable(part, "\n\t"), end="", flush=True)
        print()


def written(given: list[str]) -> Iterator[str]:
    """The prompt, and the parts of the text that follows it.

    Raises:
        ConfigError: for a wrong argument, or a folder that does not hold the run of a language model.
    """
    others = [each for each in given if each != "prompt="]  # which may be empty
    values = arguments.values(others, ("run", *MODEL, *TEXT), texts=("run", "prompt"))
    text = {key: values.pop(key, default) for key, default in TEXT.items()}

    from dl_lab.config.validation import typed  # after the arguments are known to be readable
    from dl_lab.core import devices
    from dl_lab.data.tokenizers import one_line_end
    from dl_lab.inference.generation import generate
    from dl_lab.inference.trained import load_trained

    options: ModelConfig = typed(ModelConfig, {**MODEL, **values}, "")
    trained = load_trained(user_path(options.run, "run"), options.checkpoint, options.device, options.imports)
    parts = generate(trained, **text)
    devices.use_threads(trained.run.settings.threads, sum(weight.numel() for weight in trained.model.parameters()))
    yield one_line_end(text["prompt"])
    yield from parts


if __name__ == "__main__":
    main()
