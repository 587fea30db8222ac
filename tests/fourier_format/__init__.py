"""Tests of the package fourier_format."""
