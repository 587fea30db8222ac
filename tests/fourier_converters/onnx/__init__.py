"""Tests of merging into ONNX."""
