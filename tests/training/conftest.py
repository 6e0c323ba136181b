"""Runs of one task compile the same step: kept between tests, for a third of the time."""

import jax
import pytest

_SETTINGS = {
    "jax_compilation_cache_dir": None,
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    old = {name: getattr(jax.config, name) for name in _SETTINGS}
    folder = str(tmp_path_factory.mktemp("compiled"))
    for name, value in (_SETTINGS | {"jax_compilation_cache_dir": folder}).items():
        jax.config.update(name, value)
    yield
    for name, value in old.items():
        jax.config.update(name, value)
