"""Files of other projects: known facts about them; they are described, drawn and repacked."""

from pathlib import Path

import numpy as np
import pytest

from fields.io import DataError, open_dataset
from fields.io.tools.describe import describe
from fields.io.tools.preview import draw
from fields.io.tools.repack import repack
from fields.io.tools.validate import validate

SHARED = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not SHARED.exists(), reason=f"needs the data files in {SHARED}")
PERLIN = {"dims": ["sample", "x", "y"], "fields": {"k": {"path": "/k", "role": "input"}, "u": "/u"}}

FILES = {
    "KdV.mat": ("fno_mat", {"sample": 1, "time": 201, "x": 512}),
    "AC.mat": ("fno_mat", {"sample": 1, "time": 201, "x": 512}),
    "burgers_shock.npz": ("fno_mat", {"sample": 1, "time": 100, "x": 256}),
    "burgers_test_16.pt": ("neuralop_pt", {"sample": 400, "time": 17, "x": 16}),
    "darcy_test_32.pt": ("neuralop_pt", {"sample": 50, "x": 32, "y": 32}),
    "mini_car.pt": ("surfaces_pt", {"sample": 3, "point": 3586}),
    "holed_poisson.h5": ("points", {"sample": 91, "point": 1352, "triangle": 2533, "corner": 3}),
    "cylinder_wake.h5": ("points", {"sample": 1, "time": 100, "point": 5000}),
    "navy_winds_1982_1989.nc": ("netcdf", {"sample": 1, "time": 96, "FNOCY": 73, "FNOCX": 144}),
    "orca2_votemper.nc": ("netcdf", {"sample": 1, "dim0": 148, "dim1": 180}),
    "ostia_monthly.nc": ("netcdf", {"sample": 1, "time": 54, "latitude": 18, "longitude": 432}),
    "diffusion_perlin_64.h5": ("mapping", {"sample": 500, "x": 64, "y": 64}),
}


@pytest.mark.parametrize("name", FILES)
def test_opened_described_and_drawn(name, tmp_path):
    layout, sizes = FILES[name]
    mapping = PERLIN if layout == "mapping" else None
    about = describe(SHARED / name, mapping)
    assert (about["layout"], about["sizes"]) == (layout, sizes)
    ds = open_dataset(SHARED / name, mapping=mapping)
    draw(ds, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


LAND = ("orca2_votemper.nc", "ostia_monthly.nc")


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_validated_and_repacked(name, tmp_path):
    mapping = PERLIN if FILES[name][0] == "mapping" else None
    findings = validate(SHARED / name, mapping)
    assert not [f for f in findings if f.level == "error"]
    assert any("land" in f.message for f in findings) == (name in LAND)
    repack(SHARED / name, tmp_path / "a.nc", mapping=mapping)  # compares the copy with its source
    assert describe(tmp_path / "a.nc")["sizes"] == FILES[name][1]


def test_an_unknown_file_opens_with_the_mapping_that_is_proposed():
    path = SHARED / "diffusion_perlin_64.h5"
    with pytest.raises(DataError, match="proposes one"):
        open_dataset(path)
    ds = open_dataset(path, mapping=describe(path)["mapping"])
    assert ds.sizes == {"sample": 500, "x": 64, "y": 64} and set(ds.data_vars) == {"k", "u"}


def test_known_facts():
    car = open_dataset(SHARED / "mini_car.pt")
    length = np.sqrt(sum(car[f"normal_{a}"] ** 2 for a in "xyz"))
    np.testing.assert_allclose(length, 1, atol=1e-4)
    assert car["press"].role == "output" and "distance" in car.attrs["left_out"]
    ocean = open_dataset(SHARED / "orca2_votemper.nc")
    land = float(np.isnan(ocean["votemper"]).mean())
    assert (
        0.3 < land < 0.7
        and ocean["latitude"].dims == ("dim0", "dim1")
        and float(ocean["votemper"].max()) < 40
    )
    winds = open_dataset(SHARED / "navy_winds_1982_1989.nc")
    assert (
        winds["FNOCX"].periodic == 1
        and np.ptp(winds["FNOCX"].bounds) == 360
        and winds["UWND"].units == "M/S"
    )
    plate = open_dataset(SHARED / "holed_poisson.h5")
    inside = (plate["x"] - plate["mu_0"] > 1e-3) & (plate["x"] - plate["mu_0"] < 0.299)
    inside &= (plate["y"] - plate["mu_1"] > 1e-3) & (plate["y"] - plate["mu_1"] < 0.299)
    assert float(np.abs(plate["u"]).max()) < 1
    assert plate["triangles"].values.max() == 1351 and not bool(inside.all())
