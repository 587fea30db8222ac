"""Tests of fourier_converters.onnx.batches."""
