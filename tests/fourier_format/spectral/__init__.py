"""Tests of fourier_format.spectral."""
