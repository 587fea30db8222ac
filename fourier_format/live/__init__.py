"""The interface of a live graph: what it says of itself, and what an adapter feeds it.

A live graph computes a base with any adapter of its layout, whose coefficients are inputs of the
graph (spec/live-graph-1.0.md). No ONNX here: converters write the interface, runtimes read it.
"""

from fourier_format.live.fitting import Fitter, fit
from fourier_format.live.interface import Bank, Interface, Parameter, Seat, from_text, to_text

__all__ = ["Bank", "Fitter", "Interface", "Parameter", "Seat", "fit", "from_text", "to_text"]
