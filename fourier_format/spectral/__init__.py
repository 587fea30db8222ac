"""The arithmetic of delta weights as far as no framework takes part in it: axes and routes."""
