"""One process of a run of several, for test_processes.py: trains, writes its parameters, ends."""

import sys
from pathlib import Path

import jax
import numpy as np
from fit_cases import evaluate, fitted

import optlab as ol

jax.config.update("jax_numpy_dtype_promotion", "strict")
folder, steps, devices = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
ol.training.start_processes()
run = fitted(
    folder / "run", tx=ol.adam(3e-2), evaluate=evaluate, steps=steps, mesh=f"data={devices}"
)
name = f"process-{jax.process_index()}-{steps}"
np.savez(folder / f"{name}.npz", **jax.tree.map(np.asarray, run.state.params))
