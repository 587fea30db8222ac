"""Runtimes: one ONNX Runtime session of a base that answers each row with its own adapter."""
