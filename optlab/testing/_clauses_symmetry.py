"""Clauses on symmetry: what an optimizer must not depend on."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optlab.testing import _compare as compare
from optlab.testing._clauses import NotApplicable
from optlab.testing._clauses import transformation_clauses as catalogue
from optlab.testing._subject import Subject


def _two(subject: Subject, params: Any, change: Any = None) -> Any:
    """The second update on fixed parameters, with the gradients changed."""
    tx = subject.tx()
    state = tx.init(params)
    updates = None
    for i in range(2):
        gradient = jax.tree.map(lambda p, i=i: 0.3 * p + 0.1 * (i + 1), params)
        gradient = gradient if change is None else change(gradient)
        updates, state = subject.update(tx, gradient, state, params)
    return updates


@catalogue.clause()
def permutation_of_leaves(subject: Subject) -> None:
    """Renaming the leaves, which reorders them, changes nothing."""
    leaves = jax.tree.leaves(subject.params())
    names = [f"{i}" for i in range(len(leaves))]
    one = _two(subject, dict(zip(names, leaves, strict=True)))
    other = _two(subject, dict(zip(reversed(names), leaves, strict=True)))
    compare.close(
        "named the leaves in reverse order",
        [other[n] for n in reversed(names)],
        [one[n] for n in names],
        "the same updates",
        rtol=1e-5,
    )


@catalogue.clause()
def permutation_of_axes(subject: Subject) -> None:
    """Permuting rows and columns of a matrix permutes its update."""
    matrices = [x for x in jax.tree.leaves(subject.params()) if x.ndim == 2]
    if not matrices:
        raise NotApplicable("there is no matrix among the parameters")
    rows, columns = (np.roll(np.arange(n), 1) for n in matrices[0].shape)
    straight = _two(subject, [matrices[0]])[0][rows][:, columns]
    permuted = _two(subject, [matrices[0][rows][:, columns]])[0]
    compare.close("permuted a matrix", permuted, straight, "the permuted update", rtol=1e-3)


@catalogue.clause("property")
def scale_invariant(subject: Subject) -> None:
    """Gradients a thousand times larger give the same update, with eps = 0 where there is one."""
    tx = subject.make_tx()
    for name in subject.numbers:
        if name.rsplit("/", 1)[-1] in ("eps", "eps_root"):
            tx = subject.numbers[name](0.0)
            subject = Subject(lambda tx=tx: tx, subject.params(), subject.needs)
    params = subject.params()
    large = _two(subject, params, lambda g: jax.tree.map(lambda x: 1e3 * x, g))
    compare.close("scaled gradients by 1,000", large, _two(subject, params), "the same", rtol=1e-2)


@catalogue.clause("property")
def odd(subject: Subject) -> None:
    """Negated gradients and parameters give the negated update."""
    params = subject.params()

    def negative(tree):
        return jax.tree.map(jnp.negative, tree)

    tx, run = subject.tx(), subject.plain
    updates, _ = subject.update(
        tx, negative(run.gradients[0]), tx.init(negative(params)), negative(params)
    )
    compare.close("negated all", negative(updates), run.updates[0], "the negated", rtol=1e-5)


@catalogue.clause("property")
def leaf_local(subject: Subject) -> None:
    """Changing the gradient of one leaf changes no other leaf's update."""
    params = subject.params()

    def first_leaf_changed(gradient):
        leaves, structure = jax.tree.flatten(gradient)
        return jax.tree.unflatten(structure, [3 * leaves[0] + 1, *leaves[1:]])

    changed = jax.tree.leaves(_two(subject, params, first_leaf_changed))[1:]
    plain = jax.tree.leaves(_two(subject, params))[1:]
    compare.identical("changed the first leaf's gradient", changed, plain, "the same elsewhere")


@catalogue.clause("property")
def complex_is_a_pair(subject: Subject) -> None:
    """A complex parameter moves as its real and imaginary parts would by themselves."""
    real, imaginary = jnp.asarray([0.4, -0.8]), jnp.asarray([-0.3, 0.5])

    def update(params, gradient):
        tx = subject.tx()
        return subject.update(tx, gradient, tx.init(params), params)[0]

    whole = update(jax.lax.complex(real, imaginary), jax.lax.complex(0.5 * imaginary, 2 * real))
    compare.close(
        "split a complex leaf in two",
        [whole.real, whole.imag],
        update([real, imaginary], [0.5 * imaginary, 2 * real]),
        "what the parts do",
        rtol=1e-5,
    )
