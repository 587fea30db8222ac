"""Tests of PEFT checkpoints."""
