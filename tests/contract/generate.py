"""Runs the contract on optlab and on Optax and writes `conformance.json`, `docs/conformance.md`.

python tests/contract/generate.py              what is not stored yet
python tests/contract/generate.py --all        everything again, about half an hour on one core
python tests/contract/generate.py --only adam  what has `adam` in its name
python tests/contract/generate.py --clause scan   one clause of everything stored
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import conformance_results
import conformance_table
import jax

from optlab.testing._clauses import transformation_clauses


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="measure again what is stored")
    parser.add_argument("--only", default="", metavar="TEXT", help="of what has it in its name")
    parser.add_argument(
        "--clause", action="append", metavar="NAME", help="just this clause again (repeat)"
    )
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table")
    options = parser.parse_args()
    clauses = [c for name in options.clause or () for c in transformation_clauses.expand(name)]
    again = options.all or options.only or clauses
    results = conformance_results.load()["results"]
    for name in [] if options.table else conformance_results.subjects():
        if name in results and not (again and options.only in name):
            continue
        if name in results and clauses:
            results[name] = conformance_results.measured_again(name, results[name], clauses)
        else:
            results[name] = conformance_results.measure(name)
        conformance_results.store(results)
        jax.clear_caches()  # thousands of compiled programs exhaust a process's memory maps
        ended = {k: v if k == "passed" else len(v) for k, v in results[name].items()}
        print(f"{name}: {ended}", flush=True)
    conformance_results.store(results)
    conformance_table.write()
    print(f"wrote {conformance_table.PATH}")


if __name__ == "__main__":
    main()
