"""Live graphs: a base and, beside its adapted layers, a branch that computes with fed coefficients.

adapters -> banks; base + adapters -> sites -> groups -> terms -> grafted graph (spec/live-graph).
"""
