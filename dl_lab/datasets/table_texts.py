"""Texts in a column of a table, as tokens."""

from collections.abc import Sequence

from torch import Tensor

from dl_lab.core.errors import counted, require
from dl_lab.core.progress import announce
from dl_lab.data.tables.division import Rows
from dl_lab.data.tables.reading import RawTable
from dl_lab.data.tables.types import as_text
from dl_lab.data.tokenizers import Tokenizer, one_line_end
from dl_lab.datasets.table_config import RowsConfig


def tokens_of(
    config: RowsConfig, table: RawTable, others: Sequence[str], order: Rows, train: int
) -> tuple[Tensor, Tokenizer]:
    """The tokens (row, context) of these rows, and the tokenizer, learned from the first `train` of them. A missing
    text is an empty one. Prints how long the texts are, and which `others` are left out.
    """
    assert config.text is not None
    texts, length = as_text(table.frame[config.text]).gather(order).to_list(), config.context_length
    allowed = "a column with text in the training split"
    require(any(texts[:train]), "dataset.text", config.text, allowed)
    tokenizer = config.learned([text or "" for text in texts[:train]])
    tokens = [tokenizer.encode_known(text) for text in texts]
    lengths = sorted(map(len, tokens[:train]))
    lines = [
        f"{table.path}: {counted(len(table.frame), 'row')}",
        f"text from {config.text}, as {tokenizer.kind} ({counted(len(tokenizer), 'different token')})",
        f"{lengths[train // 2]:,} in a text of the training split (the median), {lengths[-1]:,} in the longest",
    ]
    if longer := sum(each > length for each in lengths):
        lines.append(f"{longer / train:.1%} are longer than dataset.context_length={length}, and are cut")
    announce("; ".join(lines))
    if others:
        announce(f"{table.path}: columns that are left out beside dataset.text: {', '.join(others)}")
    if unknown := sum(bool(text and tokenizer.unknown(one_line_end(text))) for text in texts[train:]):
        what = f"{counted(unknown, 'text')} of other splits"
        announce(f"{table.path}: {what} have characters that no training text has, which are left out")
    return tokenizer.padded(tokens, length), tokenizer
