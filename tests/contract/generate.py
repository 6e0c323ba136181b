"""Runs the contract on optlab and on Optax and writes `conformance.json`, `docs/conformance.md`.

python tests/contract/generate.py              what is not stored yet
python tests/contract/generate.py --all        everything again, about half an hour on one core
python tests/contract/generate.py --only adam  what has `adam` in its name
python tests/contract/generate.py --clause scan   one clause of everything
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import conformance_results
import conformance_table
import jax

import optlab as ol


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="measure again what is stored")
    parser.add_argument("--only", metavar="TEXT", help="measure again what has it in its name")
    parser.add_argument("--clause", metavar="NAME", help="measure just this clause again")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table")
    options = parser.parse_args()
    results = conformance_results.load()["results"]
    for name in [] if options.table else conformance_results.subjects():
        again = options.only in name if options.only else options.all or options.clause
        if name not in results or (again and not options.clause):
            results[name] = conformance_results.measure(name)
        elif again:
            found = conformance_results.measure(name, options.clause)
            asked = [c for c in ol.testing.clauses() if options.clause in (c, c.split("[")[0])]
            results[name] = conformance_results.merged(results[name], found, asked)
        else:
            continue
        conformance_results.store(results)
        jax.clear_caches()  # thousands of compiled programs exhaust a process's memory maps
        ended = {k: v if k == "passed" else len(v) for k, v in results[name].items()}
        print(f"{name}: {ended}", flush=True)
    conformance_results.store(results)
    conformance_table.write()
    print(f"wrote {conformance_table.PATH}")


if __name__ == "__main__":
    main()
