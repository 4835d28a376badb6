r"""Pseudo-spectral solution of semi-linear PDEs on periodic boxes, in float64 on CPU or GPU.

    v̂_t = L v̂ + N(v̂),   L diagonal in Fourier space

Real fields are held as `rfftn` coefficients over the last d axes, complex fields as `fftn`
coefficients.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def wavenumbers(
    points: tuple[int, ...],
    lengths: tuple[float, ...],
    *,
    real: bool = True,
    device: torch.device | str | None = None,
) -> list[Tensor]:
    """Angular wavenumbers 2πj/length of each axis, to broadcast; half of the last if real."""
    out = []
    for axis, (n, length) in enumerate(zip(points, lengths, strict=True)):
        half = real and axis == len(points) - 1
        j = torch.fft.rfftfreq(n, 1 / n) if half else torch.fft.fftfreq(n, 1 / n)
        shape = [1] * len(points)
        shape[axis] = -1
        out.append((2 * torch.pi / length * j.double()).reshape(shape).to(device))
    return out


def two_thirds(
    points: tuple[int, ...], *, real: bool = True, device: torch.device | str | None = None
) -> Float[Tensor, "*k"]:
    """1 on modes |j| < n/3 of every axis, else 0: products of two fields are then not aliased."""
    keep = torch.ones(1, dtype=torch.float64, device=device)
    for n, j in zip(
        points,
        wavenumbers(points, (2 * torch.pi,) * len(points), real=real, device=device),
        strict=True,
    ):
        keep = keep * (j.abs() < n / 3)
    return keep


def resample(v: Complex[Tensor, "*b k"], old: int, new: int) -> Complex[Tensor, "*b q"]:
    """Coefficients of a real 1-D field on `new` instead of `old` points: modes drop or are 0."""
    modes = new // 2 + 1
    kept = v[..., : min(modes, v.shape[-1])] * (new / old)
    return torch.nn.functional.pad(kept, (0, modes - kept.shape[-1]))


def sample_at(v: Complex[Tensor, "*b k"], old: int, new: int) -> Float[Tensor, "*b x"]:
    """Values at i/new of the field with coefficients v on `old` points, without any filter."""
    stride = -(-old // new)
    return torch.fft.irfft(resample(v, old, stride * new), n=stride * new)[..., ::stride]


class ETDRK4:
    r"""Exponential Runge–Kutta of order 4: L exactly, N explicitly.

        a = E₂ v + Q N(v),  b = E₂ v + Q N(a),  c = E₂ a + Q (2N(b) − N(v)),
        v⁺ = E v + f₁ N(v) + 2 f₂ (N(a) + N(b)) + f₃ N(c)

    with E = e^{hL}, E₂ = e^{hL/2}; Q, f₁, f₂, f₃ are means over a circle around hL, which avoids
    the cancellation of their closed forms near 0.

    Reference: Cox & Matthews 2002, Eqs. 26–29; Kassam & Trefethen, SIAM J. Sci. Comput. 26 (2005),
    Section 3.

    Args:
        linear: L, broadcastable to the coefficients.
        nonlinear: N, from coefficients to coefficients.
        dt: step h.
    """

    def __init__(
        self, linear: Tensor, nonlinear: Callable[[Tensor], Tensor], *, dt: float, circle: int = 32
    ):
        self.dt = dt
        self.nonlinear = nonlinear
        z = dt * linear
        self.full = torch.exp(z)
        self.half = torch.exp(z / 2)
        angles = (
            2
            * torch.pi
            * (torch.arange(circle, dtype=torch.float64, device=linear.device) + 0.5)
            / circle
        )
        weights = [torch.zeros_like(z, dtype=torch.complex128) for _ in range(4)]
        for r in torch.exp(
            1j * angles
        ):  # one point at a time: the circle times a 2-D grid need not fit in memory
            s = z + r
            e = torch.exp(s)
            e2 = torch.exp(s / 2)
            terms = (
                (e2 - 1) / s,
                (-4 - s + e * (4 - 3 * s + s**2)) / s**3,
                (2 + s + e * (s - 2)) / s**3,
                (-4 - 3 * s - s**2 + e * (4 - s)) / s**3,
            )
            for total, term in zip(weights, terms, strict=True):
                total += dt / circle * term
        real = not linear.is_complex()
        self.q, self.f1, self.f2, self.f3 = [w.real.clone() if real else w for w in weights]

    def step(self, v: Tensor) -> Tensor:
        """One step h."""
        n_v = self.nonlinear(v)
        half_v = self.half * v
        a = half_v + self.q * n_v
        n_a = self.nonlinear(a)
        b = half_v + self.q * n_a
        n_b = self.nonlinear(b)
        c = self.half * a + self.q * (2 * n_b - n_v)
        return (
            self.full * v + self.f1 * n_v + 2 * self.f2 * (n_a + n_b) + self.f3 * self.nonlinear(c)
        )

    def run(self, v: Tensor, *, steps: int) -> Tensor:
        """`steps` steps; stops with a clear sentence if the solution blows up."""
        for _ in range(steps):
            v = self.step(v)
        if not bool(torch.isfinite(v.abs().sum())):
            raise FloatingPointError(
                f"No finite solution after {steps} steps of {self.dt:g}: take smaller steps."
            )
        return v


def self_advection(
    points: tuple[int, ...],
    lengths: tuple[float, ...],
    *,
    speed: float = 1.0,
    device: torch.device | str | None = None,
) -> Callable[[Tensor], Tensor]:
    r"""N(v̂) of u_t = −(c/2) (u²)_x in one dimension, c = `speed`, on the modes of `two_thirds`."""
    (k,) = wavenumbers(points, lengths, device=device)
    keep = two_thirds(points, device=device)
    slope = -0.5j * speed * k * keep
    return lambda v: slope * torch.fft.rfft(torch.fft.irfft(keep * v, n=points[0]) ** 2)


def fields_flow(
    solver: ETDRK4, points: tuple[int, ...], *, steps: int
) -> Callable[[Tensor], Tensor]:
    """The map of real fields (… *x) to fields that `steps` steps on their coefficients make."""
    dims = tuple(range(-len(points), 0))
    return lambda u: torch.fft.irfftn(
        solver.run(torch.fft.rfftn(u, dim=dims), steps=steps), s=points, dim=dims
    )


def gradient(u: Tensor, lengths: tuple[float, ...]) -> list[Tensor]:
    """∂u along each of the last axes; skew on the grid, since Nyquist modes have derivative 0."""
    dims = tuple(range(-len(lengths), 0))
    points = u.shape[-len(lengths) :]
    v = torch.fft.rfftn(u, dim=dims)
    out = []
    for n, k in zip(points, wavenumbers(points, lengths, device=u.device), strict=True):
        nyquist = torch.isclose(k.abs(), torch.pi * n / lengths[len(out)] * torch.ones_like(k))
        out.append(torch.fft.irfftn(torch.where(nyquist, 0.0, 1j * k) * v, s=points, dim=dims))
    return out


def integral(u: Tensor, lengths: tuple[float, ...]) -> Tensor:
    """∫u over the box: (… *x) -> (…)."""
    dims = tuple(range(-len(lengths), 0))
    return u.mean(dim=dims) * prod(lengths)
