"""Tests of fourier_format.containers."""
