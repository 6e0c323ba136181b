"""What a run was made with."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform

_PACKAGES = ("optlab", "jax", "jaxlib", "optax", "flax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """What a run was made with; packages that are not installed are left out.

    No paths and no names of machines or people.
    """
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    system = f"{platform.system()} {platform.machine()}".strip()
    return {**found, "python": platform.python_version(), "platform": system}
