"""Tables of others: small files that unpack to fill the memory, and values that parquet holds and no csv file does."""

import bz2
import gzip
import io
import lzma
import zipfile
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.commands import TINY, train

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.tables import dates, encoding

LARGE = b"x,y\n" + b"1,2\n" * 2**18
TARGET = ("dataset=table", "dataset.path=table", "dataset.targets=[y]", *TINY[1:])


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.csv", content)
    return buffer.getvalue()


def zstd(blocks: int) -> bytes:
    """A frame to be skipped, and one whose blocks are line feeds, 2^17 each (RFC 8878)."""
    block = (2**17 << 3 | 2).to_bytes(3, "little") + b"\n"
    return b"\x50\x2a\x4d\x18\x01\0\0\0?" + b"\x28\xb5\x2f\xfd\x00\x58" + block * blocks + b"\x01\0\0"


def parquet(**columns: pl.Series) -> bytes:
    buffer = io.BytesIO()
    numbers = {name: np.arange(40.0) for name in "xy"}
    pl.DataFrame({**numbers, **columns}).write_parquet(buffer)
    return buffer.getvalue()


PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zip": zipped}
BOMBS = {
    **{name: pack(LARGE) for name, pack in PACKED.items()},
    "zst": zstd(8)[9:],
    "zst of two": zstd(0)[9:] + zstd(8),
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_a_small_file_that_unpacks_to_fill_the_memory_is_refused(monkeypatch, content: bytes) -> None:
    assert len(encoding.unpack("table", content)) >= 2**20
    monkeypatch.setattr(encoding, "UNPACKED", 2**19)
    monkeypatch.setattr(encoding, "RATIO", 2)
    with pytest.raises(ConfigError, match=r"^dataset.path=table unpacks .* allowed: .* hint: unpack it"):
        encoding.unpack("table", content)


def test_a_parquet_file_of_too_many_cells_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(encoding, "UNPACKED", 100)
    monkeypatch.setattr(encoding, "RATIO", 0)
    (tmp_path / "table").write_bytes(parquet(z=pl.Series([[1]] * 40)))
    assert "unpacks from" in train(tmp_path, *TARGET).err


COLUMNS = {
    "infinite": (pl.Series([float("inf")] * 40), 2, "'inf' is not a number; allowed: finite"),
    "numbers beyond 64 bits": (pl.Series([1e30 * row for row in range(40)]), 0, ""),
    "a far day": (pl.Series([2**30 + row for row in range(40)], dtype=pl.Int32).cast(pl.Date), 0, "40 dates outside"),
    "a far second": (pl.Series([2**62] * 20 + [2**50 + row for row in range(20)]).cast(pl.Datetime), 0, "20 dates out"),
}


@pytest.mark.parametrize(("column", "status", "said"), COLUMNS.values(), ids=COLUMNS)
def test_values_beyond_all_ranges_are_missing_or_refused(tmp_path, column: pl.Series, status: int, said: str) -> None:
    announce.cache_clear()
    (tmp_path / "table").write_bytes(parquet(z=column))
    ended = train(tmp_path, *TARGET)
    assert (ended.status, said in ended.err + ended.out) == (status, True), ended.err


@pytest.mark.parametrize("pattern", dates.PATTERNS[::7])
def test_texts_of_each_format_are_dates_and_others_are_not(pattern: str) -> None:
    fraction, zone = pattern.replace("%.f", ".%f"), pattern.replace("%.f", "").replace("%#z", "+0200")
    for written in (fraction.replace("%#z", "Z"), zone):
        text = datetime(2024, 3, 19, 4, 5, 6, 70).strftime(written)
        found = dates.pattern(pl.Series([text]), is_chosen=False)
        assert found is not None
        assert dates.parsed(pl.Series([text]), found).equals(dates.parsed(pl.Series([text]), pattern)), text
        assert dates.pattern(pl.Series([f"item {text}"]), is_chosen=False) is None
