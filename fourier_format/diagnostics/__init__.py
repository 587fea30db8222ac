"""What a training run tells about itself: pure functions from observations to findings and advice.

    history = remember(history, Observation(step=40, coefficient_norm=2.1, gradient_norm=3e-4))
    findings = diagnose([(target, history), ...], planned_steps=2_000)
    for line in advise(findings):
        print(line)

No framework and no I/O: a trainer observes, and the thresholds and sentences are here. They are
for the transform dft2 under Adam, the optimiser of the paper and of its users. `finished_findings`
tells what an adapter without its history still shows, of any transform.
"""

from fourier_format.diagnostics.arithmetic import (
    delta_norm,
    furthest_change,
    likely_change,
    relative_change,
)
from fourier_format.diagnostics.checks import target_findings
from fourier_format.diagnostics.finished import finished_findings
from fourier_format.diagnostics.records import (
    KINDS,
    SEVERITIES,
    Advice,
    Finding,
    Kind,
    Observation,
    Severity,
    WatchedTarget,
)
from fourier_format.diagnostics.run import advise, diagnose, remember, run_findings

__all__ = [
    "KINDS",
    "SEVERITIES",
    "Advice",
    "Finding",
    "Kind",
    "Observation",
    "Severity",
    "WatchedTarget",
    "advise",
    "delta_norm",
    "diagnose",
    "finished_findings",
    "furthest_change",
    "likely_change",
    "relative_change",
    "remember",
    "run_findings",
    "target_findings",
]
