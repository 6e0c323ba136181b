"""Which links are known to turn finite gradients into finite updates and state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optlab.core import Chain, Link, registry

# Held to it by the contract's clauses on tiny, huge and zero gradients. Others are judged by their
# results, at the price of holding old and new state at once.
_NAMES = """
accumulate_average accumulate_gradients accumulate_moments accumulate_momentum adaptive_clip
add_decayed_weights add_gradient_noise add_l1 add_l2 average_params average_tail centralize
clip_by_global_norm clip_by_norm clip_by_rms clip_by_value correct_bias divide_by_rectified_rms
divide_by_rms dynamic_loss_scale freeze guard interpolate_momentum keep_maximum look_ahead
lookahead offload probe route scale scale_by_adadelta scale_by_learning_rate scale_by_parameter_rms
scale_by_trust_ratio sign store subtract_squared_mean with_master zero1
"""
KNOWN = frozenset(_NAMES.split())


def keeps_finite(link: Link) -> bool:
    """Whether a link and all links in it are known to keep finite what is finite."""
    known = isinstance(link, Chain) or (
        link.record_name in KNOWN and registry.get(f"transforms.{link.record_name}") is type(link)
    )
    return known and all(
        keeps_finite(part) for part in link.children().values() if isinstance(part, Link)
    )


def current_values(link: Link, state: Any) -> Iterator[Any]:
    """The scheduled and recorded hyperparameters that the next step of a link would use."""
    own = state
    if link.kept():
        yield from link.current(state).values()
        own = state.inner
    for inner, part, _ in link.substates(own).values():
        yield from current_values(inner, part)
