"""Tests of the converters: the tree mirrors converters/fourier_converters."""
