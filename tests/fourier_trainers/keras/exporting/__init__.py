"""Tests of export_base, on the three backends."""
