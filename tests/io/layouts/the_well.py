"""The Well."""

import writers

from layouts import Example, one_file, with_checksums


def folder_of_splits(folder):
    for split in ("train", "test"):
        (folder / split).mkdir()
        writers.the_well(folder / split / "0.hdf5")
    return folder


EXAMPLES = {
    "the_well": Example(one_file(writers.the_well), "the_well"),
    "the_well, checksums": Example(with_checksums(writers.the_well), "the_well", checked=True),
    "the_well, folder": Example(folder_of_splits, "the_well"),
}
