"""Clauses on storage: a state written and read goes on to the bit."""

from __future__ import annotations

import io
import json
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from optlab.core import Transformation, from_dict, to_dict
from optlab.testing import _compare as compare
from optlab.testing._clauses import Broken, NotApplicable, doing
from optlab.testing._clauses import transformation_clauses as catalogue
from optlab.testing._clauses_structure import _module
from optlab.testing._subject import Subject


def _npz(state: Any) -> Any:
    """Through NumPy's format, which knows no bfloat16: such leaves go as their bits."""
    leaves, structure = jax.tree.flatten(state)
    arrays = [np.asarray(leaf) for leaf in leaves]
    known = [a if a.dtype.isbuiltin else a.view(f"uint{8 * a.dtype.itemsize}") for a in arrays]
    file = io.BytesIO()
    np.savez(file, *known)
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        read = [stored[f"arr_{i}"].view(a.dtype) for i, a in enumerate(arrays)]
    return jax.tree.unflatten(structure, [jax.numpy.asarray(a) for a in read])


def _msgpack(state: Any) -> Any:
    serialization = _module("flax.serialization")
    return serialization.from_bytes(state, serialization.to_bytes(state))


def _orbax(state: Any) -> Any:
    checkpoint = _module("orbax.checkpoint")
    with tempfile.TemporaryDirectory() as folder, checkpoint.StandardCheckpointer() as writer:
        writer.save(Path(folder) / "state", state)
        writer.wait_until_finished()
        return writer.restore(Path(folder) / "state", state)


def _pickle(state: Any) -> Any:
    return pickle.loads(pickle.dumps(state))


FORMATS = {"npz": _npz, "msgpack": _msgpack, "orbax": _orbax, "pickle": _pickle}


@catalogue.clause(over=FORMATS)
def checkpoint(subject: Subject, through: Callable[[Any], Any]) -> None:
    """A state that was written and read is the same, and the next step is, to the bit."""
    tx, run = subject.tx(), subject.plain
    if not jax.tree.leaves(run.states[2]):
        raise NotApplicable("it has no state")
    with doing("wrote the state and read it back"):
        restored = through(run.states[2])
    compare.identical("wrote the state and read it back", restored, run.states[2], "the same state")

    def step(state):
        return subject.update(tx, run.gradients[2], state, run.params[2])[0]

    did = "took a step after writing the state and reading it back"
    compare.identical(did, step(restored), step(run.states[2]), "the same step")


@catalogue.clause("capability")
def stored_as_json(subject: Subject) -> None:
    """An optlab transformation round-trips through JSON, pickle and repr as an equal one."""
    tx = subject.make_tx()
    if not isinstance(tx, Transformation):
        raise NotApplicable("it is not an optlab transformation")
    for did, copy in {
        "wrote and read JSON": from_dict(json.loads(json.dumps(to_dict(tx)))),
        "pickled": pickle.loads(pickle.dumps(tx)),
    }.items():
        if copy != tx or hash(copy) != hash(tx) or repr(copy) != repr(tx):
            raise Broken(did, repr(copy), repr(tx))
