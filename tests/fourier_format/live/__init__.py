"""Tests of fourier_format.live."""
