"""Tests of fourier_runtimes."""
