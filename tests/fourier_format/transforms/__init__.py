"""Tests of fourier_format.transforms."""
