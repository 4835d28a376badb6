"""PDEBench, one group per sample and incompressible flow."""

import writers

from layouts import Example, one_file, with_checksums

EXAMPLES = {
    f"pdebench, {kind}": Example(one_file(writers.pdebench_groups, kind=kind), "pdebench_groups")
    for kind in ("react", "water", "sorption")
}
EXAMPLES["pdebench groups, checksums"] = Example(
    with_checksums(writers.pdebench_groups), "pdebench_groups", checked=True
)
EXAMPLES["pdebench, incompressible"] = Example(
    one_file(writers.pdebench_incompressible), "pdebench_incompressible"
)
