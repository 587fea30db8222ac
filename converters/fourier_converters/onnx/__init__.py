"""Adapters into ONNX graphs: find the weights, merge, write. Needs onnx, and no framework.

model -> uses -> candidates -> matching -> sharing -> merging -> writing
"""

from fourier_converters.onnx.convert import to_onnx

__all__ = ["to_onnx"]
