"""Blocks packed as gzip, or as a zip of one file, while they are written.

No time stands in what is packed: equal content gives equal bytes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any

from isal import isal_zlib
from stream_zip import ZIP_64, stream_zip

GZIP_WINDOW = 31  # zlib's number for a gzip header around
LEVEL = 1  # of isal 0 to 3: the quickest that makes files small
RAW_WINDOW = -15  # and for none
EARLIEST = dt.datetime(1980, 1, 1)  # noqa: DTZ001  a zip must say some time, and knows no zones


def gzipped(blocks: Iterable[bytes]) -> Iterator[bytes]:
    packer = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, GZIP_WINDOW)
    for block in blocks:
        if packed := packer.compress(block):
            yield packed
    yield packer.flush()


def zipped(blocks: Iterable[bytes], inner_name: str) -> Iterator[bytes]:
    """One file in a zip, which may be larger than 4 GB."""
    # Not the standard library's, which packs with zlib alone: that takes more time than all the rest.
    member = (inner_name, EARLIEST, 0o600, ZIP_64, blocks)
    return iter(stream_zip((member,), get_compressobj=_raw))


def _raw() -> Any:
    return isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, RAW_WINDOW)
