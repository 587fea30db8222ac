"""Tests of live graphs."""
