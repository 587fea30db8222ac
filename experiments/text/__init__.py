"""Encoders on sentences and pairs of sentences: what GLUE's experiments share."""
