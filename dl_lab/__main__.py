"""python -m dl_lab COMMAND ...: one program for all commands; without a command, it lists them."""

import sys
from importlib import import_module

from dl_lab.cli import app, arguments
from dl_lab.core.errors import unknown_command
from dl_lab.core.shell import line

COMMANDS = {
    "train": "train a run; with -m, a sweep of runs; continue or repeat a run",
    "evaluate": "evaluate a trained run on a split, or on other labelled data",
    "predict": "predict for new rows, pictures or texts with a trained run",
    "generate": "write text with a trained language model",
    "export": "export a trained run as ONNX, torch.export or safetensors",
    "compare": "compare runs and sweeps by configuration, over seeds",
}
HELP = f"""Deep learning on PyTorch: python -m dl_lab COMMAND [argument ...]

{"".join(f"  {name:10}{meaning}{chr(10)}" for name, meaning in COMMANDS.items())}
  python -m dl_lab train model=cnn optimizer=adam    a first run, 98 % on handwritten digits in seconds
  python -m dl_lab COMMAND --help                    the arguments of a command; for train, every choice and key
  python -m dl_lab --version                         the version of dl_lab

python -m dl_lab.COMMAND and dl-lab-COMMAND are the same. TensorBoard shows runs: tensorboard --logdir outputs
"""


def main() -> None:
    """Call the command that the first argument names, with the others."""
    given = sys.argv[1:]
    with app.exits():
        if arguments.answered(["--help"] if given[:1] in ([], ["help"]) else given[:1], HELP):
            return
        if given[0] not in COMMANDS:
            hint = line("python", "-m", "dl_lab", "train", *given) if "=" in given[0] else ""
            raise unknown_command(given[0], COMMANDS, hint)
    sys.argv = [f"{sys.argv[0]} {given[0]}", *given[1:]]
    import_module(f"dl_lab.{given[0]}").main()


if __name__ == "__main__":
    main()
