"""pdearena and MP-PDE solvers."""

import writers

from layouts import Example, one_file, with_checksums


def sphere(folder):
    writers.pdearena_sphere(folder, seeds=1)
    return folder


EXAMPLES = {
    "pdearena": Example(one_file(writers.pdearena), "pdearena"),
    "pdearena, checksums": Example(with_checksums(writers.pdearena), "pdearena", checked=True),
    "pdearena, kuramoto": Example(one_file(writers.kuramoto, attributes=True), "pdearena"),
    "pdearena, kuramoto by sample": Example(
        one_file(writers.kuramoto, attributes=False), "pdearena"
    ),
    "pdearena, maxwell": Example(one_file(writers.maxwell), "pdearena"),
    "pdearena, sphere": Example(sphere, "pdearena_sphere"),
}
