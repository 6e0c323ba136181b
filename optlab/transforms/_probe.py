"""A probe: what a transformation does to each layer, measured now and then inside the step.

Around a whole optimizer. Plain updates in and out, the very ones of what it is around.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from optlab.core import Transformation, Wrapper, as_link, checks, numerics, require_arrays, static
from optlab.transforms import _probe_groups as grouping
from optlab.transforms import _probe_inside as inside
from optlab.transforms import _probe_measures as measures
from optlab.transforms._probe_state import ProbeState, as_names, names

PyTree = Any
DEAD_AFTER = 10  # samples


class _Step(NamedTuple):
    """What goes into a step: groups of leaves, gradients, inner state, parameters, the rest."""

    groups: list[grouping.Group]
    gradients: PyTree
    before: PyTree
    params: PyTree
    extra: dict[str, Any]

    def plan(self) -> measures.Layout:
        return measures.layout(self.groups, jax.tree.leaves(self.gradients))

    def measured(self, tree: PyTree) -> list[jax.Array]:
        """The blocks of leaves that are measured, of a tree like the gradients."""
        return measures.blocks(self.plan(), jax.tree.leaves(tree))

    def loss(self) -> tuple[bool, jax.Array]:
        """Whether the loss was told, and what it is."""
        value = self.extra.get("value")
        given = value is not None and np.shape(value) == ()
        value = jnp.asarray(value if given else 0.0)
        return given, lax.stop_gradient(value.real)


class Probe(Wrapper):
    """Attributes: every, history >= 1; groups: pairs of name and selector; noise; histogram."""

    groups: Any = static(default=None)
    every: int = static(checks.positive_count, default=100)
    history: int = static(checks.positive_count, default=100)
    noise: bool = static(checks.boolean, default=True)
    histogram: bool = static(checks.boolean, default=False)

    def init(self, params: PyTree) -> ProbeState:
        inner = self.inner.start(params)
        leaves = jax.tree.leaves(params)
        groups = grouping.groups_of(self.groups, params)
        plan = measures.layout(groups, leaves)
        dtype = plan.dtype
        metrics = self._metrics(inner, params)
        shape = (len(groups), len(metrics))
        return ProbeState(
            count=jnp.zeros((), jnp.int32),
            samples=jnp.zeros((), jnp.int32),
            clipped=jnp.zeros((), dtype),
            latest=jnp.zeros(shape, dtype),
            history=jnp.zeros((self.history, *shape), dtype),
            steps=jnp.zeros(self.history, jnp.int32),
            losses=jnp.zeros(self.history, dtype),
            valued=jnp.zeros(self.history, bool),
            quiet=jnp.zeros(int(plan.units.sum()), jnp.int32),
            sketch=jnp.zeros(int(plan.sketched.sum()), dtype) if self.noise else None,
            previous_norms=jnp.zeros(len(plan.sizes), dtype) if self.noise else None,
            histogram=jnp.zeros((len(groups), len(measures.DECADES) + 1), dtype)
            if self.histogram
            else None,
            groups=as_names([group.name for group in groups], leaves),
            metrics=as_names(metrics, leaves),
            inner=inner,
        )

    def update(
        self, updates: PyTree, state: ProbeState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, ProbeState]:
        require_arrays(self.record_name, updates)
        groups = grouping.groups_of(self.groups, updates if params is None else params)
        self._require_groups(groups, state)
        step = _Step(groups, updates, state.inner, params, extra)
        kept = jax.tree.map(_constant, state._replace(inner=None))
        if self.every > 1:
            updates, kept = self._perhaps(kept, step)
        result, inner = self.inner.step(updates, state.inner, params, **extra)
        require_arrays(self.record_name, result)
        if self.every == 1:
            kept = self._sampled(kept, step, result, inner)
        return result, kept._replace(
            count=numerics.increment(state.count),
            clipped=kept.clipped + self._shortened(inner, kept),
            inner=inner,
        )

    def _perhaps(self, kept: ProbeState, step: _Step) -> tuple[PyTree, ProbeState]:
        """A sample, the gradient kept for the next one, or nothing.

        The wrapped step of a sample is computed twice. So no other step has to write its updates to
        memory, and all are those of a run without a probe, to the bit. The gradients are handed
        through, so that the step is after the sample: else XLA would copy what both read and the
        step writes to, all state and parameters.
        """

        def skip(kept: ProbeState, gradients: PyTree) -> Any:
            return kept, gradients

        def keep(kept: ProbeState, gradients: PyTree) -> Any:
            kept = self._with_sketch(kept, step._replace(gradients=gradients))
            return kept, lax.optimization_barrier(gradients)

        def take(kept: ProbeState, gradients: PyTree) -> Any:
            again = step._replace(gradients=gradients)
            link = jax.tree.map(_constant, self.inner)
            inputs = jax.tree.map(_constant, (gradients, step.before, step.params))
            new, after = link.step(*inputs, **step.extra)
            require_arrays(self.record_name, new)
            kept = self._sampled(kept, again, new, after)
            return kept, lax.optimization_barrier(gradients)

        phase = kept.count % self.every
        which = jnp.where(phase == 0, 2, jnp.where(phase == self.every - 1, 1, 0))
        branches = [skip, keep if self.noise else skip, take]
        if checks.is_concrete(which):  # outside of jit, lax.switch would compile all
            kept, gradients = branches[int(which)](kept, step.gradients)
        else:
            kept, gradients = lax.switch(which, branches, kept, step.gradients)
        return gradients, kept

    def _metrics(self, inner: PyTree, params: PyTree) -> tuple[str, ...]:
        found: dict[str, bool] = {}

        def look(inner: PyTree, params: PyTree) -> None:
            found["second"] = bool(inside.second_moments_of(self.inner, inner, params))
            found["clips"] = inside.has_clips(self.inner, inner)

        jax.eval_shape(look, inner, params)
        optional = (measures.CLIPPED if found["clips"] else ()) + (
            measures.SECOND if found["second"] else ()
        )
        return measures.METRICS + optional + (measures.NOISE if self.noise else ())

    def _shortened(self, inner: PyTree, state: ProbeState) -> jax.Array:
        """1 if a clip that keeps a record clipped at the latest step, else 0."""
        clipped = list(inside.clips_recorded(self.inner, inner))
        if not clipped:
            return jnp.zeros_like(state.clipped)
        return lax.stop_gradient(jnp.any(jnp.stack(clipped))).astype(state.clipped.dtype)

    def _turn(self, state: ProbeState) -> Any:
        """Which signs a sketch has: those of the sample it is for."""
        return 0 if self.every == 1 else state.samples

    def _with_sketch(self, state: ProbeState, step: _Step) -> ProbeState:
        plan, leaves = step.plan(), step.measured(step.gradients)
        norms = measures.norms_of(plan, leaves)
        sketch = measures.sketches(plan, leaves, self._turn(state))
        return state._replace(sketch=sketch, previous_norms=norms)

    def _sampled(self, state: ProbeState, step: _Step, new: PyTree, after: PyTree) -> ProbeState:
        plan, leaves = step.plan(), step.measured(step.gradients)
        norms = measures.norms_of(plan, leaves)
        samples = numerics.increment(state.samples)
        quiet = jnp.where(measures.quiet_units(leaves), numerics.increment(state.quiet), 0)
        values = measures.measured(
            plan,
            leaves,
            norms,
            step.measured(new),
            None if step.params is None else step.measured(step.params),
            quiet >= jnp.minimum(samples, DEAD_AFTER),
        )
        metrics = names(state.metrics)
        shortened = self._shortened(after, state)
        if measures.CLIPPED[0] in metrics:
            values["clipped_fraction"] = self._clipped(state, step, shortened)
        if measures.SECOND[0] in metrics:
            like = step.gradients if step.params is None else step.params
            moments = inside.second_moments_of(self.inner, after, like)
            moments = {i: lax.stop_gradient(v) for i, v in moments.items()}
            values["second_moment_spread"] = measures.second_spread(plan, moments)
        if state.sketch is not None and state.previous_norms is not None:
            now = measures.sketches(plan, leaves, self._turn(state))
            values |= measures.successive(plan, norms, now, state.sketch, state.previous_norms)
            if self.every == 1:
                state = state._replace(sketch=now, previous_norms=norms)
        latest = jnp.stack([values[m] for m in metrics], axis=1) if metrics else state.latest
        given, loss = step.loss()
        row = state.samples % self.history
        return state._replace(
            samples=samples,
            clipped=jnp.zeros_like(state.clipped) - shortened,  # this step is added behind
            latest=latest,
            history=_with_row(state.history, row, latest),
            steps=_with_row(state.steps, row, numerics.increment(state.count)),
            losses=_with_row(state.losses, row, loss),
            valued=_with_row(state.valued, row, given),
            quiet=quiet,
            histogram=measures.histogram(plan, leaves) if self.histogram else None,
        )

    def _clipped(self, state: ProbeState, step: _Step, shortened: Any) -> jax.Array:
        """Share of steps since the last sample; of entries now where clips keep no record."""
        plan = step.plan()
        steps = jnp.where(state.samples == 0, 1, self.every).astype(plan.dtype)
        share = jnp.broadcast_to((state.clipped + shortened) / steps, (len(plan.member),))
        clips = list(inside.first_clips(self.inner, step.before))
        if not clips:
            return share
        changed = step.gradients
        for link, part in clips:
            changed, _ = link.step(changed, part, step.params, **step.extra)
        pairs = zip(step.measured(step.gradients), step.measured(changed), strict=True)
        entries = [measures.summed_up(a != b) for a, b in pairs]
        own = measures.summed(plan, measures.concatenated(entries, plan.dtype))
        return jnp.maximum(share, own / np.maximum(plan.member @ plan.sizes, 1))

    def _require_groups(self, groups: Any, state: ProbeState) -> None:
        found, kept = [group.name for group in groups], names(state.groups)
        if found != kept:
            raise ValueError(
                f"probe: the state has the groups {kept}, but the parameters make {found}. Make a "
                "new state with init for these parameters and groups."
            )

    def __repr__(self) -> str:
        shown: dict[str, Any] = {} if self.groups is None else {"groups": dict(self.groups)}
        for field, default in (("every", 100), ("history", 100), ("noise", True)):
            if getattr(self, field) != default:
                shown[field] = getattr(self, field)
        if self.histogram:
            shown["histogram"] = True
        options = "".join(f", {name}={value!r}" for name, value in shown.items())
        return f"probe({self.inner!r}{options})"


def _with_row(ring: jax.Array, row: jax.Array, value: Any) -> jax.Array:
    return jnp.asarray(ring).at[row].set(jnp.asarray(value, ring.dtype))


def _constant(x: Any) -> Any:
    """Numbers written in Python stay that: they are rounded where they are used."""
    return lax.stop_gradient(x) if isinstance(x, jax.Array) else x


def probe(
    tx: optax.GradientTransformation,
    *,
    groups: Mapping[str, Any] | None = None,
    every: int = 100,
    history: int = 100,
    noise: bool = True,
    histogram: bool = False,
) -> Transformation:
    """Measures what an optimizer does to each layer, every so many steps, inside the step.

    The updates are those of `tx`, to the bit. Update number 1, `every` + 1, 2 `every` + 1 and so on
    are measured, by group, with g the gradient that comes in, u the update that goes out, w the
    parameters before it:

    - `gradient_norm` |g|, `update_norm` |u|, `weight_norm` |w|, `update_ratio` |u| / |w|;
    - `cosine` between u and -g: 1 is steepest descent, less than 0 is uphill;
    - `zero_fraction`, `nonfinite_fraction` of the entries of g;
    - `dead_fraction` of the outputs (places on the last axis of arrays of two or more) whose
      gradient was exactly 0 in each of the last 10 samples, or in all if there are fewer;
    - `unit_spread` |g - mean over outputs| / |g|, in [0, 1]: 0 where all outputs learn the same, 1
      also where there are no two of them;
    - `clipped_fraction`, where `tx` has a clip: of the steps since the last sample, those in which
      a `clip_by_global_norm` shortened the gradient; if more, of the entries of this one, those
      that `clip_by_norm`, `clip_by_value`, `adaptive_clip` at the beginning of `tx` changed;
    - `second_moment_spread`, where `tx` has second moments v: largest over smallest sqrt(v) > 0;
    - `previous_norm` |g'| and `successive_cosine` c between g and g', the gradient one step before:
      what the gradient noise scale is estimated from.

    Args:
      tx: a whole optimizer, optlab's or Optax's, however wrapped.
      groups: selectors (or masks) by name; groups may overlap, and what is in none is not measured.
        None: one group a layer, which is the path of a module down to its first numbered part
        (`encoder/layers_3`, `Dense_0`), or to where paths part.
      every: updates from one sample to the next, at least 1.
      history: samples kept, at least 1; older ones are overwritten.
      noise: whether to compare gradients of successive steps.
      histogram: whether to keep how many entries of g are of which magnitude (`state.histogram`:
        below 1e-12, then a decade each, 1e3 and above), at the latest sample.

    Returns:
      A `Transformation`. `read(state)` gives the latest sample as `"update_ratio/Dense_0"` and so
      on; `lab.gradient_report(state)` a table of all that are kept, and a diagnosis. The extra
      argument `value`, the loss, is kept with the samples if it is given.

    Raises:
      ValueError: for `every` or `history` below 1; when parameters are first seen, for a selector
        that selects nothing. TypeError: for arguments of another kind.

    Special cases:
      The gradient noise scale of McCandlish et al., in batches of the size used, is
      `tr(cov) / |E g|² = (|g|² + |g'|² - 2 |g| |g'| c) / (2 |g| |g'| c)`: their equations A.2 and
      A.3 with the two gradients as the small batches and their mean as the large one. It assumes
      that successive batches are independent and that parameters move little in one step; movement
      counts as noise. Ratios of averages over many samples are meant, not of one. c is exact for
      vectors and for parallel gradients; else, for arrays of two or more axes, it is estimated from
      random projections onto the longest axis, of length d, with a standard deviation of at most
      about sqrt(2 / d), new signs at each sample (with `every=1`: the same ones).
      Values that do not exist (a ratio to weights of norm 0, anything before the first sample) are
      0. Without `params` in `update`, weight norms are. A non-finite gradient gives NaN in what
      depends on it; a `guard` belongs inside to see such steps, outside to keep them from `tx`.
      Around `accumulate_gradients` micro-batches are measured. Under `vmap` over states XLA
      computes a sample at every step; `lax.map` keeps the steps between samples cheap.
      Entries above 2**50 (1e15) count as that in norms, squares under 1e-38 as 0.

    Cost:
      4 bytes a row and column kept: history x groups x (about 13), and at most 8 for each place on
      the longest axis of an array; nothing that grows with the parameters otherwise. A sample takes
      the wrapped step again and some 15 reads of the gradients; a step without one next to nothing,
      but all gradients exist at once, as for any clip by global norm (`benchmarks/probe.py`).

    Place in a chain:
      Around the whole optimizer; `zero1` and `offload` go around it.

    Example:
      >>> import jax.numpy as jnp, optlab as ol
      >>> tx = ol.probe(ol.sgd(0.1), every=10)
      >>> params = {"Dense_0": {"kernel": jnp.ones((2, 2)), "bias": jnp.zeros(2)}}
      >>> updates, state = tx.update(params, tx.init(params), params)
      >>> ol.read(state)["update_ratio/Dense_0"]
      Array(0.1, dtype=float32)

    Source:
      Noise scale: McCandlish, Kaplan, Amodei, OpenAI Dota Team, "An empirical model of large-batch
      training", 2018, arXiv:1812.06162, appendix A.1.
    """
    return Transformation(
        Probe(
            inner=as_link(tx),
            groups=grouping.checked("probe", groups),
            every=every,
            history=history,
            noise=noise,
            histogram=histogram,
        )
    )
