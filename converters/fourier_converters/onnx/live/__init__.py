"""Live graphs: a base that computes itself with any adapter that is fed, and what is fed."""
