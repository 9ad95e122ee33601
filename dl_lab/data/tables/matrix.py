"""The matrix of inputs, written once and standardized in place."""

from collections.abc import Sequence

import numpy as np

from dl_lab.data.tables.columns import Block, Date, Encoder, Number
from dl_lab.data.tables.division import Rows
from dl_lab.data.tables.heads import Values, statistics

CHUNK = 4096  # rows that are written at a time, which fit the cache of a processor


def assemble(blocks: Sequence[Block], rows: Rows) -> Values:
    """The matrix (row, output) of these rows, in their order."""
    columns = np.empty((len(blocks), len(rows)))  # a single array, as the system gives out memory by large pages
    for column, (values, _) in zip(columns, blocks, strict=True):
        column[:] = values.take(rows)
    are_classes = [values.dtype == np.int64 for values, _ in blocks]
    if not any(are_classes):
        return columns.T.copy()
    matrix = np.zeros((len(rows), sum(width for _, width in blocks)))
    for start in range(0, len(rows), CHUNK):
        part, place = matrix[start : start + CHUNK], 0
        for column, (_, width), is_class in zip(columns, blocks, are_classes, strict=True):
            chosen = column[start : start + CHUNK]
            if is_class:
                is_known = chosen >= 0
                part[np.flatnonzero(is_known), place + chosen[is_known].astype(np.int64)] = 1
            else:
                part[:, place] = chosen
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
    for start in range(0, len(matrix), CHUNK):
        part = matrix[start : start + CHUNK]
        part -= offset
        part /= scale
    found, start = [], 0
    for encoder in encoders:
        if isinstance(encoder, Number | Date):
            own = slice(start, start + encoder.scaled)
            encoder = encoder.standardized(offset[own], scale[own])
        found.append(encoder)
        start += len(encoder.outputs)
    return found
