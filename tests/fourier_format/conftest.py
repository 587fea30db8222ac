"""One profile for Hypothesis: the same examples on every run, and no clock on shared machines."""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=100)
if settings.get_current_profile_name() == "default":
    settings.load_profile("repeatable")
