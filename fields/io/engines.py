"""xarray engines of the readers: ``xr.open_dataset(path, engine="pdebench")``.

xarray finds engines through the entry points in ``pyproject.toml``, once this package is installed.
Each engine opens the layouts of the readers that name it in their attribute ``engine``. The engine
``bracketfields`` opens every layout.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import xarray as xr
from xarray.backends import BackendEntrypoint

from fields.io.base import DataError
from fields.io.opening import open_dataset
from fields.io.readers import all_readers


class FieldsEngine(BackendEntrypoint):
    """The engine ``bracketfields``: any layout, recognized by the content of the file.

    Example:
        >>> import tempfile, numpy as np
        >>> from fields.io import write_dataset
        >>> path = Path(tempfile.mkdtemp()) / "a.h5"
        >>> u = (("sample", "x"), np.zeros((3, 8)), {"role": "output"})
        >>> write_dataset(xr.Dataset({"u": u}, {"x": np.arange(8) / 8}), path)
        >>> dict(xr.open_dataset(path, engine=FieldsEngine).sizes)
        {'sample': 3, 'x': 8}
    """

    description: ClassVar[str] = "PDE datasets in any layout that Bracket Fields reads"
    open_dataset_parameters = (
        "filename_or_obj",
        "drop_variables",
        "mapping",
        "roles",
        "periodic",
        "resolution",
        "channel",
        "group",
        "allow_external",
    )
    engine: ClassVar[str] = "bracketfields"

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        **options: Any,
    ) -> xr.Dataset:
        """Open a file in canonical form (see :func:`fields.io.open_dataset`).

        Raises:
            DataError: the file has a layout of another engine.
        """
        path = _path(filename_or_obj)
        ds = open_dataset(path, **options)
        layout = ds.attrs["layout"]
        layouts = [reader.layout for reader in all_readers() if reader.engine == self.engine]
        if self.engine != FieldsEngine.engine and layout not in layouts:
            raise DataError(
                f"{path} has the layout {layout}, which the engine {self.engine} does not open. "
                "Use engine='bracketfields', which opens every layout."
            )
        names = [drop_variables] if isinstance(drop_variables, str) else drop_variables or ()
        return ds.drop_vars([name for name in names if name in ds.variables])

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Always False: without ``engine=``, xarray keeps choosing its own engines."""
        return False


def _path(source: Any) -> Path:
    """The path of what xarray is given: a path, or an open file.

    Raises:
        DataError: it has no path, such as bytes in memory.
    """
    name = source if isinstance(source, os.PathLike) else getattr(source, "name", source)
    if isinstance(name, str | os.PathLike):
        return Path(name)
    raise DataError(
        f"An object of type {type(source).__name__} has no path. Each process opens a dataset for "
        "itself, so give the path of a file."
    )


def _engine(name: str) -> type[FieldsEngine]:
    return type(name, (FieldsEngine,), {"engine": name, "__doc__": f"The engine ``{name}``."})


PDEBenchEngine = _engine("pdebench")
TheWellEngine = _engine("the_well")
PDEArenaEngine = _engine("pdearena")
FnoMatEngine = _engine("fno_mat")
NeuralopEngine = _engine("neuralop_pt")
APEBenchEngine = _engine("apebench")
GeoFnoEngine = _engine("geo_fno")
DinoEngine = _engine("dino")
