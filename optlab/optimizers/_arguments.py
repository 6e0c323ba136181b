"""Checks of arguments under the names a recipe gives them; its links may know them by others."""

from __future__ import annotations

from typing import Any

from optlab.core import checks


def check_numbers(recipe: str, **arguments: tuple[Any, checks.Check]) -> None:
    """Judges each value by its check; schedules are left to the link that will hold them.

    Raises:
      ValueError: for a value out of range. TypeError: for no number.
    """
    for name, (value, check) in arguments.items():
        if not callable(value):
            check(recipe, name, value)


def check_decays(recipe: str, **decays: Any) -> None:
    """Decay rates in [0, 1); None is refused, for a link would take it to mean no average."""
    check_numbers(recipe, **{name: (value, checks.decay_rate) for name, value in decays.items()})


def check_flags(recipe: str, **flags: Any) -> None:
    """Raises `TypeError` for what is neither True nor False."""
    for name, value in flags.items():
        checks.boolean(recipe, name, value)


def check_selector(recipe: str, where: Any, everything: Any, **decay: Any) -> None:
    """Raises `ValueError` for a selection of leaves that decay where nothing decays."""
    ((name, value),) = decay.items()
    if value is None and where is not everything:
        raise ValueError(
            f"{recipe}: where={where!r} selects the leaves of {name}, but {name} is None. Pass "
            f"{name}, or drop where."
        )
