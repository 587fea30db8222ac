"""Acceptance tests of the main job: real PEFT adapters on real exported models."""
