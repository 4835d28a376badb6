"""The structure of MATLAB files of version 5, checked before scipy reads them.

scipy crashes on an array whose elements have a type that does not exist, and it takes wrong sizes
for true ones. So the tags of all arrays are read first: a few bytes per array, or the first
decompressed bytes of arrays that are compressed.

Reference: The MathWorks, "MAT-File Format", chapter 1 (level 5).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fields.io.base import DataError

FILE_HEADER = 128
TAG = 8

MATRIX = 14
COMPRESSED = 15

# Bytes of the head of an array that are examined; its dimensions and its name fit.
HEAD = 4096

# Bytes per number of the element types that can hold the numbers of an array.
NUMBER_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}

# Classes of numeric arrays, from double to uint64, and of cells, structures, texts, ….
NUMERIC_CLASSES = range(6, 16)
OTHER_CLASSES = (1, 2, 3, 4, 5, 16, 17)

# The flag of arrays with an imaginary part.
COMPLEX = 0x800


class MatlabArray(NamedTuple):
    """What the head of an array says.

    Attributes:
        name: of the variable.
        shape: its dimensions.
        numeric: whether it is a full array of numbers.

    Example:
        >>> MatlabArray("u", (2, 3), True).shape
        (2, 3)
    """

    name: str
    shape: tuple[int, ...]
    numeric: bool


class _StructureError(Exception):
    """The structure is wrong; the argument says what."""


def matlab5_arrays(path: Path) -> list[MatlabArray]:
    """The arrays of a file of version 5.

    Raises:
        DataError: the file is truncated or its structure is wrong.

    Example:
        >>> import tempfile, scipy.io
        >>> path = Path(tempfile.mkdtemp()) / "a.mat"
        >>> scipy.io.savemat(path, {"u": [[0, 1, 2], [3, 4, 5]]})
        >>> matlab5_arrays(path)
        [MatlabArray(name='u', shape=(2, 3), numeric=True)]
    """
    size = path.stat().st_size
    arrays = []
    with open(path, "rb") as file:
        order = ">" if file.read(FILE_HEADER)[126:128] == b"MI" else "<"
        place = FILE_HEADER
        while place < size:
            try:
                kind, length = _tag(file.read(TAG), order)
                end = place + TAG + length
                if end > size:
                    raise _StructureError(f"{end} bytes are needed, {size} are there")
                array = _array(file, kind, length, order)
            except (_StructureError, struct.error, zlib.error, IndexError) as error:
                raise DataError(
                    f"{path} is damaged or truncated: the array at byte {place} cannot be read "
                    f"({error}). Download or generate it again."
                ) from error
            arrays.append(array)
            place = end
            file.seek(place)
    return arrays


def _tag(block: bytes, order: str) -> tuple[int, int]:
    kind, length = struct.unpack(f"{order}II", block[:TAG])
    return kind, length


def _array(file: BinaryIO, kind: int, length: int, order: str) -> MatlabArray:
    if kind == MATRIX:
        start = file.tell()
        return _matrix(lambda place, size: _read_at(file, start + place, size), length, order)
    if kind != COMPRESSED:
        raise _StructureError(f"it has the unknown type {kind}")
    content = zlib.decompressobj().decompress(file.read(min(length, HEAD)), HEAD)
    kind, length = _tag(content, order)
    if kind != MATRIX:
        raise _StructureError(f"it has the unknown type {kind}")
    content = content[TAG:]
    return _matrix(lambda place, size: content[place : place + size], length, order)


def _read_at(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def _matrix(read: Callable[[int, int], bytes], length: int, order: str) -> MatlabArray:
    """Read flags, dimensions and name, and check the tags of the numbers."""
    head = read(0, min(length, HEAD))
    kind, flags, place = _element(head, 0, order)
    if kind != 6 or len(flags) != 8:
        raise _StructureError("its flags are missing")
    word = struct.unpack(f"{order}I", flags[:4])[0]
    kind, dims, place = _element(head, place, order)
    if kind != 5 or len(dims) < 8 or len(dims) % 4:
        raise _StructureError("its dimensions are missing")
    shape = struct.unpack(f"{order}{len(dims) // 4}i", dims)
    kind, name, place = _element(head, place, order)
    if kind not in (1, 2, 16) or min(shape) < 0:
        raise _StructureError("its name or its dimensions are wrong")
    class_code = word & 0xFF
    numeric = class_code in NUMERIC_CLASSES
    if not numeric and class_code not in OTHER_CLASSES:
        raise _StructureError(f"it has the unknown class {class_code}")
    parts = (2 if word & COMPLEX else 1) if numeric else 0
    for _ in range(parts):
        tag = read(place, TAG)
        if len(tag) == TAG:  # else the imaginary part of a compressed array, with a checksum
            place = _check_numbers(tag, place, shape, length, order)
    return MatlabArray(name.decode(errors="replace"), shape, numeric)


def _check_numbers(tag: bytes, place: int, shape: tuple[int, ...], length: int, order: str) -> int:
    """Check the tag of the numbers at ``place``, and return the place after them."""
    kind, size = _tag(tag, order)
    end = place + TAG + (size + 7) // 8 * 8
    if kind >> 16:  # a small element: its size and its type share four bytes
        size = kind >> 16
        kind = kind & 0xFFFF
        end = place + TAG
    if kind not in NUMBER_SIZES or size != math.prod(shape) * NUMBER_SIZES[kind]:
        raise _StructureError(f"{size} bytes of type {kind} for numbers of the shape {shape}")
    if end > length + 7:
        raise _StructureError("its numbers are longer than the array")
    return end


def _element(head: bytes, place: int, order: str) -> tuple[int, bytes, int]:
    """Type and content of the element at ``place``, and the place of the next one."""
    kind, size = _tag(head[place : place + TAG], order)
    if kind >> 16:
        return kind & 0xFFFF, head[place + 4 : place + 4 + (kind >> 16)], place + TAG
    content = head[place + TAG : place + TAG + size]
    if len(content) < size:
        raise _StructureError("its head is too long")
    return kind, content, place + TAG + (size + 7) // 8 * 8
