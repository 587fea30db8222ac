"""Runtimes: one ONNX Runtime session of a base that answers each row with its own adapter.

session = AdapterSession("model.live.onnx", source="adapters")
outputs = session.run(inputs, adapters=["legal-de", None, {"legal-de": 0.7, "support": 0.3}])
print(plan(session, None, adapters=500, tokens=64, rows=32))
"""

from typing import TYPE_CHECKING, Any

from fourier_runtimes.session import AdapterSession

if TYPE_CHECKING:
    from fourier_runtimes.planning import plan
    from fourier_runtimes.plans import Plan

__all__ = ["AdapterSession", "Plan", "plan"]


def __getattr__(name: str) -> Any:
    if name == "plan":  # it needs the converters, which serving alone does not
        from fourier_runtimes.planning import plan

        return plan
    if name == "Plan":
        from fourier_runtimes.plans import Plan

        return Plan
    raise AttributeError(name)
