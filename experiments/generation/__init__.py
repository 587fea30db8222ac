"""Restaurants described: E2E NLG."""
