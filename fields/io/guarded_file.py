"""Read-only access to the metadata of untrusted HDF5 files, through a file object in Python.

HDF5 2.0 never returns from reading a global heap (the storage of texts and lists of references in
attributes) that has an entry of size 0, such as one that was overwritten with zeros. Here every
block that the library reads passes through :class:`GuardedFile`, which checks the heaps in it.
Links into other files are not followed either, since the library opens nothing but this object.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from fields.io.base import DataError

HEAP_SIGNATURE = b"GCOL"

# Bytes of the header of a heap, and of the header of an entry.
HEADER = 16

# Heaps are metadata, which HDF5 reads in blocks of at most 1 MiB; longer reads are values.
MAX_METADATA_READ = 2**20

# More bytes of a heap are not examined.
MAX_HEAP = 2**26


class GuardedFile(io.RawIOBase):
    """An HDF5 file whose global heaps are checked before the library sees them.

    Args:
        path: the file.

    Raises:
        DataError: when a heap with an entry of size 0 is read.

    Example:
        >>> import tempfile, h5py
        >>> path = Path(tempfile.mkdtemp()) / "a.h5"
        >>> with h5py.File(path, "w") as file:
        ...     file.attrs["problem"] = "burgers"
        >>> with h5py.File(GuardedFile(path), "r") as file:
        ...     file.attrs["problem"]
        'burgers'
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self._position = 0
        self._checked: set[int] = set()
        self._descriptor = os.open(path, os.O_RDONLY)

    def __repr__(self) -> str:
        """The path, which h5py takes for the name of the file."""
        return str(self.path)

    def readable(self) -> bool:
        """True: the file is open for reading."""
        return True

    def seekable(self) -> bool:
        """True: the position can be set."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        if start is None:
            start = os.fstat(self._descriptor).st_size
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """The position in bytes from the start."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` from the position on, after checking the heaps that begin in it."""
        count = os.preadv(self._descriptor, [buffer], self._position)
        if count <= MAX_METADATA_READ:
            self._check_heaps(bytes(buffer[:count]), self._position)
        self._position += count
        return count

    def close(self) -> None:
        """Close the file and its descriptor, once."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def _check_heaps(self, content: bytes, address: int) -> None:
        place = content.find(HEAP_SIGNATURE)
        while place >= 0:
            start = address + place
            if start not in self._checked and self._has_empty_entry(start):
                raise DataError(
                    f"{self.path} is damaged at byte {start}: its texts and lists of references "
                    "are overwritten. Download or generate it again."
                )
            self._checked.add(start)
            place = content.find(HEAP_SIGNATURE, place + 1)

    def _has_empty_entry(self, start: int) -> bool:
        """Whether the chain of entries of the heap at ``start`` does not advance."""
        header = os.pread(self._descriptor, HEADER, start)
        if header[4:8] != b"\x01\0\0\0":  # version 1; other texts may contain the signature
            return False
        width = self._length_width()
        size = int.from_bytes(header[8 : 8 + width], "little")
        heap = os.pread(self._descriptor, min(size, MAX_HEAP), start)
        place = HEADER
        while place + HEADER <= len(heap):
            index = int.from_bytes(heap[place : place + 2], "little")
            length = int.from_bytes(heap[place + 8 : place + 8 + width], "little")
            # Entry 0 is the free space, whose length includes its header.
            step = length if index == 0 else HEADER + (length + 7) // 8 * 8
            if step < HEADER:
                return True
            place += step
        return False

    def _length_width(self) -> int:
        """Bytes of a length in this file, which its superblock states; usually 8."""
        for start in (0, *(512 * 2**i for i in range(16))):
            block = os.pread(self._descriptor, 16, start)
            if block.startswith(b"\x89HDF\r\n\x1a\n"):
                return min(block[14] if block[8] < 2 else block[10], 8) or 8
        return 8
