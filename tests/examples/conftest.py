"""Trainers run in this process, small; what they compile is kept between tests."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def share_compiled(compiled_once):
    """See `compiled_once`."""
