"""Write the reference in conf/README.md from the YAML files and the schemas: python -m dl_lab.config.reference"""

from collections.abc import Iterable, Sequence
from typing import get_type_hints

from dl_lab.config.comments import keys, title
from dl_lab.config.compose import CONF
from dl_lab.config.schema import MAX_THREADS, SWEEPS, RunSettings, TrainConfig
from dl_lab.config.validation import in_words
from dl_lab.registry import REGISTRIES

GUIDE = CONF / "README.md"
BEGIN, END = "<!-- written by python -m dl_lab.config.reference -->\n", "<!-- end -->\n"
GROUPS = [*REGISTRIES, "train", "sweep", "hydra/launcher", "hydra/sweeper"]


def schema_of(group: str, choice: str) -> type | None:
    if group in REGISTRIES:
        return REGISTRIES[group][choice].schema
    return SWEEPS[choice] if group == "sweep" else TrainConfig if group == "train" else None


def allowed(schema: type | None) -> dict[str, str]:
    """Types and ranges of the keys of a schema; nothing without one."""
    hints = get_type_hints(schema, include_extras=True) if schema else {}
    return {
        key: in_words(hint).replace(f" to {MAX_THREADS}", " to 64 or the number of cores")
        for key, hint in hints.items()
    }


def table(*head: str, rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def group_reference(group: str) -> str:
    """The choices of a group with their values, then its keys; a key with one meaning in all choices is one row."""
    paths = sorted((CONF / group).glob("*.yaml"))
    choices, order = [], list[str]()
    rows: dict[tuple[str, str, str], list[str]] = {}
    for path in paths:
        own = keys(path)
        values = ", ".join(f"`{key}: {value}`" for key, (value, _) in own.items())
        choices.append((f"`{path.stem}`", title(path), values))
        ranges = allowed(schema_of(group, path.stem))
        for key, (_, meaning) in own.items():
            order.append(key)
            rows.setdefault((key, ranges.get(key, ""), meaning), []).append(path.stem)
    explained = [
        (f"`{key}`", among(names, [path.stem for path in paths]), *rest)
        for (key, *rest), names in sorted(rows.items(), key=lambda row: order.index(row[0][0]))
    ]
    reference = table("choice", "what it is", "values", rows=choices)
    return f"### {group}\n\n" + reference + table("key", "choices", "allowed", "meaning", rows=explained)


def among(names: Sequence[str], everything: Sequence[str]) -> str:
    """The names, or all but a few."""
    others = [name for name in everything if name not in names]
    if len(others) > 3 or len(names) <= len(others):
        return ", ".join(names)
    return f"all but {', '.join(others)}" if others else "all"


def reference() -> str:
    """The generated part of the guide."""
    ranges, run = allowed(RunSettings), keys(CONF / "config.yaml").items()
    rows = [(f"`{key}`", f"`{value}`", ranges.get(key, ""), meaning) for key, (value, meaning) in run]
    groups = "".join(map(group_reference, GROUPS))
    return f"\n{groups}### Keys outside the groups\n\n" + table("key", "value", "allowed", "meaning", rows=rows)


if __name__ == "__main__":
    before, _, rest = GUIDE.read_text(encoding="utf-8").partition(BEGIN)
    GUIDE.write_text(before + BEGIN + reference() + END + rest.partition(END)[2], encoding="utf-8")
