"""The layouts as xarray engines: ``xr.open_dataset(path, engine="pdebench")`` once this package is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import xarray as xr
from xarray.backends import BackendEntrypoint

import fields.io


class FieldsEngine(BackendEntrypoint):
    """Any layout of :mod:`fields.io`, recognized by content."""

    description: ClassVar[str] = "PDE data in any layout that Bracket Fields knows"
    open_dataset_parameters = (
        "filename_or_obj",
        "drop_variables",
        "mapping",
        "roles",
        "periodic",
        "resolution",
    )
    layouts: ClassVar[tuple[str, ...]] = ()

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: Any = None, **options: Any
    ) -> xr.Dataset:
        """Opens the file in canonical form; refuses other layouts than the engine's."""
        path = Path(filename_or_obj)
        ds = fields.io.open_dataset(path, **options)
        if self.layouts and ds.attrs["layout"] not in self.layouts:
            raise fields.io.DataError(
                f"{path} has layout {ds.attrs['layout']}, not {self.layouts[0]}. Drop `engine`."
            )
        names = [drop_variables] if isinstance(drop_variables, str) else drop_variables
        return ds if not names else ds.drop_vars([name for name in names if name in ds.variables])

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Never of itself: files of other people's code keep their own engines."""
        return False


class PDEBenchEngine(FieldsEngine):
    """PDEBench in all its flavours."""

    layouts = ("pdebench", "pdebench_groups", "pdebench_incompressible")


class TheWellEngine(FieldsEngine):
    """The Well."""

    layouts = ("the_well",)


class PDEArenaEngine(FieldsEngine):
    """pdearena and MP-PDE solvers."""

    layouts = ("pdearena", "pdearena_sphere")


class FnoMatEngine(FieldsEngine):
    """MATLAB files of the Fourier neural operator."""

    layouts = ("fno_mat",)


class NeuralopEngine(FieldsEngine):
    """neuraloperator's ``.pt`` files."""

    layouts = ("neuralop_pt", "surfaces_pt")


class APEBenchEngine(FieldsEngine):
    """APEBench's ``.npy`` files."""

    layouts = ("apebench",)


class GeoFnoEngine(FieldsEngine):
    """Geo-FNO's pairs of ``.npy`` files."""

    layouts = ("geo_fno",)


class DinoEngine(FieldsEngine):
    """DINo's Dedalus files and shelves."""

    layouts = ("dino", "dino_shelf")
