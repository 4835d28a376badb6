"""PDEBench, flat files."""

import writers

from layouts import Example, one_file, with_checksums

KINDS = ("advection", "burgers", "reaction", "cfd1", "cfd2", "cfd3", "darcy")

EXAMPLES = {
    f"pdebench, {kind}": Example(one_file(writers.pdebench_flat, kind=kind), "pdebench")
    for kind in KINDS
}
EXAMPLES["pdebench, checksums"] = Example(
    with_checksums(writers.pdebench_flat), "pdebench", checked=True
)
