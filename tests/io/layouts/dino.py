"""DINo."""

import writers

from layouts import Example, one_file


def shelf(folder):
    writers.dino_shelf(folder / "ns_train")
    return folder / "ns_train.dat"


EXAMPLES = {
    "dino, sphere": Example(one_file(writers.dino_sphere, "shallow_water_train"), "dino"),
    "dino, shelf": Example(shelf, "dino_shelf"),
}
