"""Tests run stricter than users do: no implicit dtype promotion, no rank promotion.

Hypothesis draws the same examples every time, so that a failure belongs to the change it came with;
`make test-all` draws others (`--hypothesis-profile default`).
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import hypothesis
import jax
import pytest

# No deadlines: how long an example takes is the machine's affair.
hypothesis.settings.register_profile(
    "same examples",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("same examples")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_runtest_teardown(item, nextitem):
    """Compiled programs go with their folder: thousands of them exhaust a process's memory maps."""
    if nextitem is None or nextitem.path.parent != item.path.parent:
        jax.clear_caches()


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """Keeps compiled programs between tests, for those that compile the same ones over and over."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.getbasetemp() / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    old = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in old.items():
        jax.config.update(name, value)
