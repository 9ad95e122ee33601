"""The columns that a model needs of a table."""

from collections.abc import Collection, Sequence
from difflib import get_close_matches

from dl_lab.core.errors import ConfigError, counted, quoted
from dl_lab.data.tables.cells import parse_number

MOST = 5  # columns that a message names


def missing_among(names: Collection[str], needed: Sequence[str]) -> list[str]:
    """The needed names that are not among `names`."""
    return [name for name in needed if name not in names]


def check_columns(path: str, names: Sequence[str], needed: Sequence[str], header: int | None = None) -> None:
    """Raises: ConfigError naming the columns that are missing among `names`, and the nearest of these."""
    missing = missing_among(names, needed)
    if not missing:
        return
    free = [name for name in names if name not in needed]
    named = []
    for name in missing[:MOST]:
        folded = {other.casefold().strip(): other for other in free}
        nearest = folded.get(name.casefold()) or next(iter(get_close_matches(name, free, n=1)), None)
        named.append(f"{name} (nearest: {nearest})" if nearest else name)
    more = f" and {len(missing) - MOST} more" if len(missing) > MOST else ""
    hint = ""
    if header is not None and len(missing) == len(needed) and any(parse_number(name) is not None for name in names):
        hint = f"; hint: line {header} seems to be a row; add a header line, such as {','.join(needed[:MOST])}"
        hint += ",..." if len(needed) > MOST else ""
    columns = f"{counted(len(missing), 'column')} that the model needs" if len(missing) > 1 else "a column"
    raise ConfigError(
        f"dataset.path={path} lacks {columns}: {', '.join(named)}{more}; allowed: the columns of the training data, in "
        f"any order; it has {quoted(list(names))}{hint}"
    )
