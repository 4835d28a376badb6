"""Finds the classes of the package and builds them: a new file is tested with no list to edit.

The constructors of fields, energies and processors are ``(dim, *, …)`` with defaults for all
keywords except those in ``OPTIONS``. A class that needs anything else fails here by its name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, get_args, get_type_hints

import torch
from torch import nn
from walking import concrete_subclasses

import fields.dynamics.energies
import fields.flows
import fields.integrators
import fields.processors
from fields.dynamics.base import Energy, VectorField
from fields.evaluation import reference_energies as reference_energies  # registers the energies
from fields.integrators.base import Integrator
from fields.processors.base import Processor
from fields.processors.flow import Flow
from fields.processors.stack import Stack

DIM = 16
TOKENS = 12
OPTIONS: dict[str, Any] = {"tokens": (TOKENS,), "conditioned": True}


def concrete(base: type, *packages: ModuleType) -> list[type]:
    """Concrete subclasses in the modules of these packages, by name."""
    found = {c for package in packages for c in concrete_subclasses(package, base)}
    return sorted(found, key=lambda c: c.__name__)


def energies() -> list[type[Energy]]:
    return concrete(Energy, fields.dynamics.energies, fields.flows)


def vector_fields() -> list[type[VectorField]]:
    return concrete(VectorField, fields.flows, fields.processors)


def integrators() -> list[type[Integrator]]:
    return concrete(Integrator, fields.integrators, fields.flows)


def processors() -> list[type[Processor]]:
    """All but the two that are compositions of fields given to them."""
    found = concrete(Processor, fields.flows, fields.processors)
    return [c for c in found if c not in (Stack, Flow)]


def options(cls: type) -> dict[str, Any]:
    """The members of ``OPTIONS`` that this constructor takes; every other keyword has a default."""
    parameters = inspect.signature(cls).parameters
    given = {name: value for name, value in OPTIONS.items() if name in parameters}
    missing = [
        p.name
        for p in list(parameters.values())[1:]
        if p.default is p.empty and p.name not in given and p.name != "energy"
    ]
    assert next(iter(parameters)) == "dim", f"{cls.__name__}: the first argument is not `dim`"
    assert not missing, f"{cls.__name__}: {missing} have no default"
    return given


def field_cases() -> list[Callable[[int], VectorField]]:
    """Every field; a field that takes an energy once with each energy of the kind that it takes."""
    return [case for cls in vector_fields() for case in _field_cases(cls)]


def _field_cases(cls: type[VectorField]) -> Iterator[Callable[[int], VectorField]]:
    if "energy" not in inspect.signature(cls).parameters:
        yield named(partial(cls, **options(cls)), cls.__name__)
        return
    kind = get_args(get_type_hints(cls.__init__)["energy"])[-1]
    for energy in energies():
        if issubclass(energy, kind):
            part = partial(energy, **options(energy))
            name = f"{cls.__name__}-{energy.__name__}"
            yield named(partial(cls, energy=part, **options(cls)), name)


def pairs() -> list[tuple[Callable[[int], VectorField], type[Integrator]]]:
    """Every field with every integrator that accepts it."""
    return [
        (case, method) for case in field_cases() for method in integrators() if fits(case, method)
    ]


def fits(case: Callable[[int], VectorField], method: type[Integrator]) -> bool:
    try:
        method().law(case(DIM))
    except ValueError:
        return False
    return True


def named(factory: Any, name: str) -> Any:
    factory.__name__ = name
    return factory


def label(value: Any) -> str | None:
    return getattr(value, "__name__", None)


def shake(module: nn.Module, by: float = 0.3, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The module with all parameters moved, so that layers which start at zero take part."""
    module = module.to(dtype)
    with torch.no_grad():
        for p in module.parameters():
            p += by * torch.randn_like(p) * (p.std() if p.numel() > 1 and p.std() > 0 else 0.3)
    return module


def build(cls: Any, dtype: torch.dtype = torch.float64, by: float = 0.3, **given: Any) -> Any:
    """A processor, field or energy of width ``DIM`` with seeded random weights."""
    torch.manual_seed(0)
    made = cls(DIM, **(options(cls) if inspect.isclass(cls) else {}), **given)
    return shake(made, by, dtype)
