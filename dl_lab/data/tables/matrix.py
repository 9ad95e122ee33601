"""The matrix of inputs, written once and standardized in place."""

from collections.abc import Sequence

import numpy as np

from dl_lab.data.tables.columns import Block, Date, Encoder, Number
from dl_lab.data.tables.division import Rows
from dl_lab.data.tables.heads import Values, statistics

CHUNK = 4096  # rows that are written at a time, which fit the cache of a processor


def assemble(blocks: Sequence[Block], rows: Rows) -> Values:
    """The matrix (row, output) of these rows, in their order."""
    matrix = np.zeros((len(rows), sum(block.width for block in blocks)))
    for start in range(0, len(rows), CHUNK):
        chosen, place = rows[start : start + CHUNK], 0
        part = matrix[start : start + CHUNK]
        for values, width in blocks:
            taken = values.take(chosen)
            if values.dtype == np.int64:
                is_known = taken >= 0
                part[np.flatnonzero(is_known), place + taken[is_known]] = 1
            else:
                part[:, place] = taken
            place += width
    return matrix


def standardize(matrix: Values, encoders: Sequence[Encoder], train: int) -> list[Encoder]:
    """Scale the outputs that are numbers in place, by their first `train` rows; returns the encoders with offset and
    scale.
    """
    scaled = [place < encoder.scaled for encoder in encoders for place in range(len(encoder.outputs))]
    chosen = slice(None) if all(scaled) else np.flatnonzero(scaled)  # a slice makes no copy
    offset, scale = np.zeros(len(scaled)), np.ones(len(scaled))
    offset[chosen], scale[chosen] = statistics(matrix[:train, chosen], standardize=True)
    matrix -= offset
    matrix /= scale
    found, start = [], 0
    for encoder in encoders:
        if isinstance(encoder, Number | Date):
            own = slice(start, start + encoder.scaled)
            encoder = encoder.standardized(offset[own], scale[own])
        found.append(encoder)
        start += len(encoder.outputs)
    return found
