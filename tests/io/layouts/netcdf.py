"""netCDF in the CF conventions, with packed values."""

import numpy as np
import xarray as xr

from layouts import Example


def packed(engine):
    def write(folder):
        coords = {
            "lon": ("lon", np.arange(8) * 45.0, {"units": "degrees_east"}),
            "lat": ("lat", [-60.0, 0, 60]),
            "time": ("time", [0.0, 30.0], {"units": "days since 2000-01-01"}),
        }
        sst = np.arange(48.0).reshape(2, 3, 8)
        ds = xr.Dataset({"sst": (("time", "lat", "lon"), sst, {"units": "K"})}, coords)
        packing = {"dtype": "i2", "scale_factor": 0.5, "add_offset": 10.0, "_FillValue": -999}
        classic = {"format": "NETCDF3_CLASSIC"} if engine == "scipy" else {}
        ds.to_netcdf(folder / "a", engine=engine, encoding={"sst": packing}, **classic)
        return folder / "a"

    return write


EXAMPLES = {
    "netcdf 4": Example(packed("h5netcdf"), "netcdf"),
    "netcdf 3": Example(packed("scipy"), "netcdf", whole_arrays=True),
}
