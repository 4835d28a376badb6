"""The result of a verification: the claimed law, the measurements in both precisions, a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

# Smallest relative change of the state: a law of a state that does not move shows nothing.
MOVED = 1e-3

# Largest share of rejected steps: a law of steps that were refused shows nothing.
REJECTED = 0.9

# A state that grows by more than this factor while its law is violated has exploded.
EXPLOSION = 1e3


@dataclass(frozen=True)
class LawFinding:
    """The result in one precision.

    Args:
        dtype: precision of the rollout.
        violation: largest violation of the law, relative to the size of the energy or the values.
        tolerance: largest violation that is rounding.
        worst_step: step of the largest violation.
        rejected_steps: steps that were cut or refused, over all samples.
        moved: largest relative change of the state since the start.
        holds: whether the violation is within the tolerance.
        taken_steps: steps that were taken, over all samples.
        grown: largest norm of the state over that at the start; infinite where it is not finite.

    Example:
        >>> print(LawFinding("float64", 2e-15, 1e-12, 3, 0, moved=0.4, holds=True, taken_steps=8))
        float64: largest violation 2.0e-15 (allowed 1e-12) at step 3, 0 of 8 steps rejected, ...
    """

    dtype: str
    violation: float
    tolerance: float
    worst_step: int
    rejected_steps: int
    moved: float
    holds: bool
    taken_steps: int
    grown: float = 1.0

    def __str__(self) -> str:
        mark = "holds" if self.holds else "BROKEN"
        return (
            f"{self.dtype}: largest violation {self.violation:.1e} (allowed {self.tolerance:.0e}) "
            f"at step {self.worst_step}, {self.rejected_steps} of {self.taken_steps} steps "
            f"rejected, state moved by {self.moved:.2g}: {mark}"
        )


@dataclass(frozen=True)
class Certificate:
    """The claimed law, the measurements, and the verdict.

    Args:
        processor: class of the processor.
        law: the claimed law.
        reach: where the law holds: through the processor, within a block, or within a diffusion.
        samples: number of samples.
        steps: number of steps of the flow.
        findings: measurements in float64 and float32.
        verdict: "holds", "BROKEN" with the reason where the state explodes, or why nothing is
            shown.
        independent: whether the energies were computed by code other than the field's own.
        frames: number of predicted frames; 0 for maps without time.

    Example:
        >>> Certificate("Transformer", "no law", "", 0, 0, [], "no law is claimed").passed
        False
    """

    processor: str
    law: str
    reach: str
    samples: int
    steps: int
    findings: list[LawFinding]
    verdict: str
    independent: bool = True
    frames: int = 0

    @property
    def passed(self) -> bool:
        """Whether a law is claimed and holds in both precisions."""
        return self.verdict == "holds"

    def to_dict(self) -> dict[str, Any]:
        """The certificate as plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        frames = f" over {self.frames} frames" if self.frames else ""
        lines = [
            f"{self.processor}: {self.law} ({self.reach}); {self.samples} samples, "
            f"{self.steps} steps{frames}",
            *(f"  {finding}" for finding in self.findings),
        ]
        if not self.independent:
            lines.append(
                "  The energy was computed by the field's own code. Register independent code with "
                "`fields.dynamics.reference.reference_energy`."
            )
        return "\n".join([*lines, f"verdict: {self.verdict}"])


def find_verdict(findings: Sequence[LawFinding]) -> str:
    """The verdict of measurements: a broken law first, then reasons why a kept one shows nothing.

    Example:
        >>> still = LawFinding("float64", 0.0, 1e-12, 0, 82, 0.0, True, taken_steps=82)
        >>> find_verdict([still])
        'nothing is shown: 82 of 82 steps were rejected'
    """
    broken = [f for f in findings if not f.holds]
    if broken:
        worst = max(broken, key=lambda f: f.grown)
        if worst.grown == float("inf"):
            return f"BROKEN: the state explodes and is not finite at step {worst.worst_step}"
        if worst.grown > EXPLOSION:
            return f"BROKEN: the state explodes, it grows by a factor of {worst.grown:.1e}"
        return "BROKEN"
    if not all(f.taken_steps for f in findings):
        return "nothing is shown: no step was taken"
    for f in findings:
        if f.rejected_steps > REJECTED * f.taken_steps:
            return f"nothing is shown: {f.rejected_steps} of {f.taken_steps} steps were rejected"
    if not all(f.moved > MOVED for f in findings):
        return "nothing is shown: the state does not move"
    return "holds"
