"""Why mutants survive, by key: (what it is, why). What is not here counts as untested."""

from __future__ import annotations

EQUIVALENT = "equivalent"  # no input tells it from the source
TOLERATED = "tolerated"  # it can be told, but nobody promised otherwise

REASONS: dict[str, tuple[str, str]] = {}
