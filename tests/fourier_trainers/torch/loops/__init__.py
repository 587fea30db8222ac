"""Loops that train attached models: one's own, Trainer, Accelerate, Lightning, several ranks."""
