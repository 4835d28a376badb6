"""The native layout: canonical form as netCDF-4, as :mod:`fields.io.writer` writes it."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from fields.io.base import ROLES, Reader, Specificity, check_canonical
from fields.io.hdf5 import HDF5Handle, get_attribute, open_hdf5
from fields.io.netcdf_file import netcdf_variables
from fields.io.signatures import is_hdf5
from fields.io.writer import NATIVE_LAYOUT


class NativeLayout(Reader):
    """netCDF-4 in canonical form with the file attribute ``layout``.

    Example:
        >>> import tempfile, numpy as np
        >>> from fields.io import write_dataset
        >>> path = Path(tempfile.mkdtemp()) / "a.h5"
        >>> u = (("sample", "x"), np.zeros((3, 8)), {"role": "output"})
        >>> write_dataset(xr.Dataset({"u": u}, {"x": np.arange(8) / 8}), path)
        >>> dict(NativeLayout().open(path).sizes)
        {'sample': 3, 'x': 8}
    """

    layout = NATIVE_LAYOUT
    specificity = Specificity.SIGNATURE

    def recognizes(self, path: Path) -> bool:
        """By the file attribute ``layout``."""
        if not is_hdf5(path):
            return False
        with open_hdf5(path) as file:
            return get_attribute(file, "layout") == NATIVE_LAYOUT

    def open(self, path: Path) -> xr.Dataset:
        """Open the file; variables without a role are coordinates."""
        handle = HDF5Handle(path)
        variables, attrs = netcdf_variables(handle, texts=True)
        # netCDF records in `coordinates` which variables are coordinates of another one.
        attrs.pop("coordinates", None)
        for variable in variables.values():
            variable.attrs.pop("coordinates", None)
        coords = {name: v for name, v in variables.items() if v.attrs.get("role") not in ROLES}
        data = {name: v for name, v in variables.items() if name not in coords}
        ds = xr.Dataset(data, coords, attrs)
        ds.set_close(handle.close)
        return check_canonical(ds, path)
