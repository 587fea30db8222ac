"""Live graphs: a base and, beside its adapted layers, a branch that computes with fed coefficients.

adapters -> banks; base + adapters -> sites -> groups -> terms -> grafted graph (spec/live-graph).
"""

from fourier_converters.onnx.live.converting import (
    Live,
    live_at_load,
    read_interface,
    to_live,
    to_live_directory,
)

__all__ = ["Live", "live_at_load", "read_interface", "to_live", "to_live_directory"]
