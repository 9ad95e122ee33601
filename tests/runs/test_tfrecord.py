"""Records of TensorBoard's files, against TensorBoard's own checksum and writer."""

import random
from io import BytesIO

import pytest
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc32c as of_tensorboard
from tensorboard.summary.writer.record_writer import RecordWriter

from dl_lab.runs.tfrecord import WIDTH, crc32c, record


def test_the_checksum_is_that_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # "check" of CRC-32/ISCSI in the catalogue of parametrised CRCs


@pytest.mark.parametrize("length", [4, 5, 8, 100, WIDTH - 1, WIDTH, WIDTH + 1, WIDTH + 4, 2 * WIDTH, 3000])
def test_records_are_those_of_tensorboard(length: int) -> None:
    content = random.Random(length).randbytes(length)
    assert crc32c(content) == of_tensorboard(content)
    written = BytesIO()
    RecordWriter(written).write(content)
    assert record(content) == written.getvalue()
