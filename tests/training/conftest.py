"""Runs of one task compile the same step: kept between tests, for a third of the time."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def share_compiled(compiled_once):
    """See `compiled_once`."""
