"""Tests of fourier_format.sampling."""
