"""Runtimes: one ONNX Runtime session of a base that answers each row with its own adapter.

session = AdapterSession("model.live.onnx", source="adapters")
outputs = session.run(inputs, adapters=["legal-de", None, {"legal-de": 0.7, "support": 0.3}])
"""

from fourier_runtimes.session import AdapterSession

__all__ = ["AdapterSession"]
