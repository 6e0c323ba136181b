"""Adds chunk after chunk of four runs to a store, and says which, until it is killed."""

import sys

import numpy as np
from test_study_store import STUDY, outcome, trial

from optlab import lab

with lab.Store(sys.argv[1], STUDY) as store:
    begin = len(store.trials()) // 4
    for chunk in range(begin, begin + 100_000):
        members = range(4 * chunk, 4 * chunk + 4)
        with store.transaction():
            store.add_trials(map(trial, members))
            store.add_outcomes(map(outcome, members))
            store.save_states(0, {(i, 0): [np.full(5000, i)] for i in members})
        print(chunk, flush=True)
