"""Open a data file of any layout: check it, find its reader, apply roles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import xarray as xr

from fields.io.base import ROLES, DataError, Reader
from fields.io.complex_parts import split_complex
from fields.io.foreign import READABLE, content_guess, foreign_format, is_url, is_web_page
from fields.io.hdf5 import open_hdf5, open_values
from fields.io.hdf5_checks import allow_external_files, external_files, refuse_external_links
from fields.io.mapping import is_mappable, open_mapped
from fields.io.readers import all_readers
from fields.io.signatures import is_hdf5, read_prefix

Result = TypeVar("Result")


def open_dataset(
    path: str | Path,
    *,
    mapping: Mapping[str, Any] | str | Path | None = None,
    roles: Mapping[str, str] | None = None,
    allow_external: bool = False,
    **reader_options: Any,
) -> xr.Dataset:
    """Open a file of any known layout as a lazy dataset, without reading its fields.

    The layout is recognized by the content of the file, not by its suffix.

    Args:
        path: the file, or the directory of a layout that consists of several files.
        mapping: for a file of an unknown layout: what each of its arrays is, as a dict or the path
            of a YAML file (see :mod:`fields.io.mapping`).
        roles: roles that replace those the layout assigns, such as ``{"u": "input"}``.
        allow_external: whether an HDF5 file may take its content from other files by external links
            and external storage, or by virtual arrays outside its folder. Allow it only for files
            that you trust: such a file can name any file of this machine.
        reader_options: options of the layout's reader, such as ``periodic=True``.

    Returns:
        A lazy dataset in canonical form (see :mod:`fields.io.base`), each complex variable ``u`` as
        ``u_re`` and ``u_im``. It can be pickled and used in forked processes: each process opens
        the file for itself.

    Raises:
        DataError: the file is damaged or has an unknown layout; the message says which, and what to
            do.

    Example:
        >>> import tempfile, h5py, numpy as np
        >>> path = Path(tempfile.mkdtemp()) / "1D_Burgers_Nu0.01.hdf5"
        >>> with h5py.File(path, "w") as file:
        ...     file["tensor"] = np.zeros((2, 3, 4))
        ...     file["x-coordinate"] = np.arange(4) / 4 + 0.125
        ...     file["t-coordinate"] = np.arange(3.0)
        >>> ds = open_dataset(path)
        >>> ds.attrs["layout"], dict(ds.sizes)
        ('pdebench', {'sample': 2, 'time': 3, 'x': 4})
    """
    path = resolve_path(path)
    with external_files(allowed=allow_external):
        check_file(path)
        if mapping is not None:
            ds = _with_data_errors(path, "with this mapping", lambda: open_mapped(path, mapping))
        else:
            reader = find_reader(path)
            _check_options(reader, reader_options)
            ds = _with_data_errors(
                path, f"as layout {reader.layout}", lambda: reader.open(path, **reader_options)
            )
    return _with_roles(split_complex(ds), roles or {})


def _with_roles(ds: xr.Dataset, roles: Mapping[str, str]) -> xr.Dataset:
    """Set the roles that replace those of the layout."""
    for name, role in roles.items():
        if name not in ds.data_vars or role not in ROLES:
            raise DataError(
                f"roles={{{name!r}: {role!r}}} does not fit the file. Its variables are "
                f"{', '.join(map(str, ds.data_vars))}; valid roles are {', '.join(ROLES)}."
            )
        ds[name].attrs["role"] = role
    return ds


def find_reader(path: Path) -> Reader:
    """The most specific reader that recognizes the content of a file or directory.

    Raises:
        UnknownLayoutError: no reader recognizes it.
    """
    for reader in all_readers():
        # A default argument binds the reader of this iteration.
        def recognizes(reader: Reader = reader) -> bool:
            return reader.recognizes(path)

        if _with_data_errors(path, f"as layout {reader.layout}", recognizes):
            return reader
    if path.is_dir():
        raise DataError(
            f"{path} is a directory, but not a dataset with the folders train, valid or test. "
            "Open one of its files instead."
        )
    can_be_mapped = is_mappable(path)
    layouts = ", ".join(reader.layout for reader in all_readers())
    raise UnknownLayoutError(
        f"{path} has an unknown layout: it {content_guess(path)}, but what it contains fits none "
        f"of the known layouts ({layouts}).",
        f"Open it with a mapping of its arrays: `python -m fields inspect {path}` proposes one."
        if can_be_mapped
        else f"Convert it to {READABLE}.",
    )


class UnknownLayoutError(DataError):
    """No reader recognizes a file.

    Args:
        reason: what the file is.
        remedy: what to do.

    Example:
        >>> str(UnknownLayoutError("a.h5 is unknown.", "Give a mapping."))
        'a.h5 is unknown. Give a mapping.'
    """

    def __init__(self, reason: str, remedy: str):
        super().__init__(f"{reason} {remedy}")
        self.reason = reason


def resolve_path(path: str | Path) -> Path:
    """The path of an existing file or directory; ``~`` is the home directory.

    Raises:
        DataError: it is a URL, does not exist, or cannot be a path.
    """
    text = str(path)
    if not text:
        raise DataError("The path is empty. Give the path of a data file.")
    if is_url(text):
        raise DataError(
            f"{text} is a URL. Only files of this machine are read: download it, then give the "
            "path of the downloaded file."
        )
    path = Path(path).expanduser()
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise DataError(f"{text!r} cannot be the path of a file ({error}).") from error
    if path.is_symlink() and not exists:
        raise DataError(f"{path} is a link to {path.readlink()}, which does not exist.")
    if not exists:
        raise DataError(f"{path} does not exist. The working directory is {Path.cwd()}.")
    return path


def check_file(path: Path) -> None:
    """Check that an existing path can be a data file, before any library opens it.

    Raises:
        DataError: it cannot be read, is empty, is something that a failed download leaves behind,
            or has a format that is not read.
    """
    if not path.is_file() and not path.is_dir():
        raise DataError(f"{path} is a device or a pipe, not a file. Save its content in a file.")
    try:
        prefix = read_prefix(path)
        foreign = foreign_format(path)
    except PermissionError as error:
        raise DataError(f"{path} cannot be read: permission denied.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if foreign:
        raise DataError(f"{path} is {foreign}, which is not read. Convert it to {READABLE}.")
    if path.is_dir():
        return
    if not prefix:
        raise DataError(
            f"{path} is empty. Its download, or the program that wrote it, was interrupted. "
            "Download or generate it again."
        )
    if is_web_page(path):
        raise DataError(
            f"{path} is a web page, not a data file. Open it in a browser to see why the download "
            "link returned a page."
        )
    if prefix.startswith(b"version https://git-lfs"):
        raise DataError(
            f"{path} is a git-lfs pointer, not the data itself. Run `git lfs pull` in its "
            "repository."
        )
    if is_hdf5(path):
        _check_hdf5(path)


def _check_hdf5(path: Path) -> None:
    try:
        open_values(path, warn=True).close()
        if not allow_external_files.get():
            with open_hdf5(path) as file:
                refuse_external_links(file, path)
    except DataError:
        raise
    except Exception as error:  # OSError, RuntimeError or KeyError, with a message of HDF5
        if "truncated file" in str(error):
            raise DataError(
                f"{path} is truncated: it has only {path.stat().st_size} bytes ({error}). "
                "Download or generate it again."
            ) from error
        raise DataError(
            f"{path} has the signature of HDF5 but cannot be opened ({error}). The file is "
            "damaged. Download or generate it again."
        ) from error


def _with_data_errors(path: Path, how: str, action: Callable[[], Result]) -> Result:
    """``action()``, with any exception of a library on a damaged file raised as a DataError."""
    try:
        return action()
    except DataError:
        raise
    except Exception as error:  # libraries do not document what they raise on damaged files
        raise DataError(
            f"{path} cannot be opened {how} ({type(error).__name__}: {error}). Part of the file is "
            "missing or damaged. Download or generate it again."
        ) from error


def _check_options(reader: Reader, options: dict[str, Any]) -> None:
    known = [name for name in signature(reader.open).parameters if name != "path"]
    for name in options:
        if name not in known:
            raise DataError(
                f"Layout {reader.layout} has no option `{name}`; its options are: "
                f"{', '.join(known) or 'none'}."
            )
