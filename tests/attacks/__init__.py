"""Hostile bases: what an attacker could try, and what stops it (README.md)."""
