"""Pictures of runs, whose drawing has tests of its own, take longer than a small run."""

import pytest


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    monkeypatch.setattr("optlab.training._loop.curves", lambda rows, title: b"no picture")
