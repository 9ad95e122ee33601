"""What the comments in the YAML files say about choices and keys, for --help, the hints and conf/README.md."""

import re
from pathlib import Path

BASE = re.compile(r"defaults:\n  - (\w+)\n")
KEY = re.compile(r"^( *)(\w+):(?: +(\S.*?))?(?: +# (.*(?:\n +# .*)*))?$", re.MULTILINE)


def title(path: Path) -> str:
    """What a choice is: the comment at the top of its YAML file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return " ".join(line.removeprefix("# ") for line in lines if line.startswith("#") and "@package" not in line)


def keys(path: Path) -> dict[str, tuple[str, str]]:
    """Value and meaning of each key of a YAML file and of the file that it extends."""
    text = path.read_text(encoding="utf-8").split("\nhydra:\n")[0]
    base = BASE.search(text)
    extended = path.parent / f"{base[1]}.yaml" if base else path
    found = keys(extended) if extended != path and extended.exists() else {}
    parents: list[str] = []
    for indent, key, value, meaning in KEY.findall(text):
        parents = [*parents[: len(indent) // 2], key]
        if value and value != path.stem and key != "_target_":
            found[".".join(parents)] = value, re.sub(r"\n +#", "", meaning)
    return found
