"""The loss of evolution models."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from fields.core.sample import Latent, Sample
from fields.metrics.losses import VariableError
from fields.models.evolution import EvolutionOperator, advance_input, input_windows


@dataclass(frozen=True)
class Objective:
    r"""Loss of one window, a sum of relative terms that are averaged over its steps.

        ‖v̂(t) − v(t)‖/‖v(t)‖
        + λ ‖z(t) − z*(t)‖/‖z*(t)‖
        + ρ ‖decode(z*(t)) − v(t)‖/‖v(t)‖
        + κ ‖encode(v̂(t)) − z(t)‖/‖z(t)‖
        + δ ‖Δv̂(t) − Δv(t)‖/(‖Δv(t)‖ + ‖v(t)‖/100),    Δv(t) = v(t) − v(t₋), t₋ the step before

    Each norm is over points, and the terms with fields are weighted means over the variables: see
    :class:`~fields.metrics.losses.VariableError`.

    z*(t) encodes the true frames at time t, z(t) is the latent state that the propagator reaches.
    Without λ (latent consistency) a latent rollout drifts, soon after the training horizon, off
    the set of states that the decoder was trained on.

    Args:
        consistency: λ, weight of latent consistency, for propagators that evolve a latent state.
        reconstruction: ρ, weight of the error of encoding and decoding the true frames.
        cycle: κ, weight of the distance between a latent state and its decoded, encoded self.
        deltas: δ, weight of the change per step, for slow fields, whose change is small compared
            with the field; needs windows of two steps.
        noise: standard deviation of Gaussian noise on the given frames, relative to that of each
            variable.
        pushforward: share of the batches that start from the model's own first prediction instead
            of the data, without gradient through it (Brandstetter, Worrall & Welling, ICLR 2022).
        curriculum: share of the run over which the horizon grows from one step to all.
        times: number of random times of the window that are predicted instead of all, so that the
            model learns unequal intervals.

    Example:
        >>> Objective(consistency=0.0, deltas=0.5).deltas
        0.5
    """

    consistency: float = 1.0
    reconstruction: float = 1.0
    cycle: float = 0.0
    deltas: float = 0.0
    noise: float = 0.0
    pushforward: float = 0.0
    curriculum: float = 0.0
    times: int | None = None

    def __call__(
        self,
        model: EvolutionOperator,
        batch: Sample,
        *,
        error: VariableError,
        progress: float,
        queries: int | None,
        random: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Loss of a batch whose targets lie at the points of its input.

        Args:
            model: predicts and encodes.
            batch: windows of given and target frames.
            error: of predicted fields.
            progress: share of the run that is done.
            queries: number of random query points; None for all.
            random: generator of all random choices.
        """
        batch = self._shortened(batch, progress)
        if batch.v.shape[1] > 1 and torch.rand((), generator=random) < self.pushforward:
            batch = _pushed(model, batch)
        later = input_windows(batch.u, batch.v, model.schema)
        if self.times is not None and self.times < batch.v.shape[1]:
            order = torch.randperm(batch.v.shape[1], generator=random)
            chosen = order[: self.times].sort().values.to(batch.v.device)
            batch = batch._replace(v=batch.v[:, chosen], t=batch.t[:, chosen])
            later = later[:, chosen]
        if self.noise:
            grain = torch.randn(batch.u.shape, generator=random).to(batch.u) * self.noise
            batch = batch._replace(u=batch.u + grain * model.normalizer.inputs_std)
        return self._loss(model, error, batch, later, _thin(batch, queries, random))

    def _loss(
        self,
        model: EvolutionOperator,
        error: VariableError,
        batch: Sample,
        later: Tensor,
        asked: Sample,
    ) -> Tensor:
        """The sum of all terms; ``later`` are the true inputs at each time of the batch."""
        latent, cond = model.encode(batch.x, batch.u, batch.x_mask, batch.params)
        codes = list(model.propagator.at(latent, cond, model.times(batch.t)))
        v_hat = model.decode(codes, asked.y, batch.params)
        loss = error(v_hat, asked.v, asked.y_mask).mean()
        if self.deltas and asked.v.shape[1] > 1:
            loss = loss + self.deltas * error.changes(v_hat, asked.v, asked.y_mask).mean()
        if model.propagator.evolves and (self.consistency or self.reconstruction):
            true = _codes(model, batch, later)
            if self.consistency:
                loss = loss + self.consistency * _distance(codes, true)
            if self.reconstruction:
                seen = model.decode(true, asked.y, batch.params)
                loss = loss + self.reconstruction * error(seen, asked.v, asked.y_mask).mean()
        if model.propagator.evolves and self.cycle:
            shown = model.decode(codes, batch.x, batch.params)
            own = _codes(model, batch, input_windows(batch.u, shown, model.schema))
            loss = loss + self.cycle * _distance(own, codes)
        return loss

    def _shortened(self, batch: Sample, progress: float) -> Sample:
        """The first steps of the window, as many as the curriculum has reached."""
        if progress >= self.curriculum:
            return batch
        steps = max(1, math.ceil(batch.v.shape[1] * progress / self.curriculum))
        return batch._replace(v=batch.v[:, :steps], t=batch.t[:, :steps])


def _pushed(model: EvolutionOperator, batch: Sample) -> Sample:
    """The window that starts one frame later, from the model's own prediction of that frame."""
    with torch.no_grad():
        first = model(batch._replace(t=batch.t[:, :1], y=batch.x, y_mask=batch.x_mask))
    return batch._replace(
        u=advance_input(batch.u, first, model.schema),
        v=batch.v[:, 1:],
        t=batch.t[:, 1:] - batch.t[:, :1],
    )


def _thin(batch: Sample, queries: int | None, random: torch.Generator) -> Sample:
    """The batch at a random subset of its query points."""
    if queries is None or queries >= batch.y.shape[1]:
        return batch
    chosen = torch.randperm(batch.y.shape[1], generator=random)[:queries].to(batch.y.device)
    return batch._replace(
        y=batch.y[:, chosen], v=batch.v[:, :, chosen], y_mask=batch.y_mask[:, chosen]
    )


def _codes(
    model: EvolutionOperator, batch: Sample, inputs: Float[Tensor, "b s n c"]
) -> list[Latent]:
    """Latent states of the frames at each of s times, encoded as one batch."""
    b, s = inputs.shape[:2]

    def spread(values: Tensor) -> Tensor:
        return values if len(values) == 1 and b > 1 else repeat(values, "b ... -> (b s) ...", s=s)

    flat = rearrange(inputs, "b s n c -> (b s) n c")
    latent, cond = model.encode(
        spread(batch.x), flat, spread(batch.x_mask), repeat(batch.params, "b p -> (b s) p", s=s)
    )
    code = model.propagator.start(latent, cond)
    z = rearrange(code.z, "(b s) k h -> s b k h", b=b)
    pos = code.pos if len(code.pos) == 1 else code.pos[::s]
    return [code._replace(z=one, pos=pos) for one in z]


def _distance(codes: list[Latent], true: list[Latent]) -> Float[Tensor, ""]:
    """mean ‖z − z*‖ / ‖z*‖ over times and samples, norms over tokens and channels."""
    z = torch.stack([code.z for code in codes])
    z_true = torch.stack([code.z for code in true])
    error = torch.linalg.vector_norm(z - z_true, dim=(2, 3))
    return (error / torch.linalg.vector_norm(z_true, dim=(2, 3))).mean()
