"""Tests run stricter than users do: no implicit dtype promotion, no rank promotion.

Hypothesis draws the same examples every time, so that a failure belongs to the change it came with;
`make test-all` draws others (`--hypothesis-profile default`).
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import hypothesis
import jax

hypothesis.settings.register_profile("same examples", derandomize=True)
hypothesis.settings.load_profile("same examples")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_runtest_teardown(item, nextitem):
    """Compiled programs go with their folder: thousands of them exhaust a process's memory maps."""
    if nextitem is None or nextitem.path.parent != item.path.parent:
        jax.clear_caches()
