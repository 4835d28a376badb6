"""Geo-FNO."""

import writers

from layouts import Example


def curvilinear_grid(folder):
    writers.geo_fno(folder)
    return folder / "NACA_Cylinder_Q.npy"


def scattered_points(folder):
    writers.geo_fno_scattered(folder)
    return folder / "Random_UnitCell_XY_10.npy"


EXAMPLES = {
    "geo_fno, curvilinear grid": Example(curvilinear_grid, "geo_fno"),
    "geo_fno, points": Example(scattered_points, "geo_fno"),
}
