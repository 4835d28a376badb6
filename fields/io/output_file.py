"""HDF5 files that are written through Python, where a full disk is an error and not a crash.

The HDF5 library cannot close a file whose last writes fail, and ends the process with a
segmentation fault. Here it writes to a Python object that remembers the first error of the system
and discards what follows, so that the library closes the file in peace and the error is raised.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5netcdf
import h5py

# The file format of HDF5 1.10 (2016), the first with checksums in all of its headers.
LIBVER = ("v110", "v110")


class OutputFile(io.RawIOBase):
    """A file for reading and writing at any place; errors are kept for `check`.

    Args:
        path: a file, created if it does not exist.

    Example:
        >>> import tempfile
        >>> with OutputFile(Path(tempfile.mkdtemp()) / "a") as file:
        ...     file.write(b"abc"), file.seek(1), file.read(2), file.check()
        (3, 1, b'bc', None)
    """

    def __init__(self, path: Path):
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self.position = 0
        self.error: BaseException | None = None

    def check(self) -> None:
        """Raise what went wrong since the file was opened.

        Raises:
            OSError: of the system, for example because the disk is full.
            KeyboardInterrupt: the user interrupted while the library was writing.
        """
        if self.error is not None:
            raise self.error

    def readable(self) -> bool:
        """True: the file is open for reading."""
        return True

    def writable(self) -> bool:
        """True: the file is open for writing."""
        return True

    def seekable(self) -> bool:
        """True: the position can be set."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset from the start, the position or the end; return the new position."""
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self.position}
        start = starts[whence] if whence in starts else os.fstat(self.descriptor).st_size
        self.position = start + offset
        return self.position

    def tell(self) -> int:
        """Return the position in bytes from the start."""
        return self.position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer; places that were never written read as zeros. Return its size."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view):
            data = os.pread(self.descriptor, len(view) - done, self.position + done)
            if not data:
                view[done:] = bytes(len(view) - done)
                break
            view[done : done + len(data)] = data
            done += len(data)
        self.position += len(view)
        return len(view)

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        """Write all bytes, or none after an error; return their number."""
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view) and not isinstance(self.error, OSError):
            try:
                done += os.pwrite(self.descriptor, view[done:], self.position + done)
            except BaseException as error:
                # An interruption is raised later too: it must not cut the library's own work.
                self.error = error
        self.position += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file; return it."""
        size = self.position if size is None else size
        try:
            os.ftruncate(self.descriptor, size)
        except OSError as error:
            self.error = self.error or error
        return size

    def close(self) -> None:
        """Close the file and its descriptor, once."""
        if not self.closed:
            os.close(self.descriptor)
        super().close()


class ExtendedFile(h5netcdf.File):
    """A netCDF-4 file that is open for writing through an `OutputFile`.

    Args:
        file: the HDF5 file.
        output: what it writes to.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.h5"
        >>> create_hdf5(path)
        >>> with open_to_extend(path) as file:
        ...     file.attrs["layout"] = "ours"
        >>> h5py.File(path).attrs["layout"]
        'ours'
    """

    def __init__(self, file: h5py.File, output: OutputFile):
        super().__init__(file, "a")
        self.output = output

    def check(self) -> None:
        """Raise what went wrong while writing, see `OutputFile.check`."""
        self.output.check()

    def to_disk(self) -> None:
        """Bring everything that was written to the file.

        Raises:
            OSError: as `check`.
        """
        self.flush()
        if self._h5file is not None:
            self._h5file.flush()
        self.check()


@contextmanager
def open_to_extend(path: Path) -> Iterator[ExtendedFile]:
    """Open an HDF5 file as netCDF-4 for writing; it is closed and checked at the end.

    Raises:
        OSError: the system could not write something.
    """
    output = OutputFile(path)
    try:
        with h5py.File(output, "a", libver=LIBVER) as file, ExtendedFile(file, output) as extended:
            yield extended
    except Exception:
        output.check()  # the cause, if something could not be written
        raise
    finally:
        output.close()
    output.check()


def create_hdf5(path: Path) -> None:
    """Create an empty file in which variables keep the order they are written in.

    Coordinates have an order, (x, y, t), which alphabetical order would change. Attributes are not
    tracked, because HDF5 limits their number if they are. The file is created in format 1.8: a file
    in a newer format cannot be opened after its writer was killed.
    """
    order = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    order.set_link_creation_order(h5py.h5p.CRT_ORDER_TRACKED | h5py.h5p.CRT_ORDER_INDEXED)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V18, h5py.h5f.LIBVER_V110)
    with OutputFile(path) as output:
        output.truncate(0)
        access.set_fileobj_driver(h5py.h5fd.fileobj_driver, output)
        h5py.h5f.create(b"output", h5py.h5f.ACC_TRUNC, fcpl=order, fapl=access).close()
        access.close()  # it would free the Python object after the interpreter has ended
        output.check()
