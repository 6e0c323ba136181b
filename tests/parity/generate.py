"""Writes `docs/parity.md`; with `--torch` first `golden_torch.json`, which needs PyTorch 2.13."""

from __future__ import annotations

import argparse

import parity_table
import parity_torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--torch", action="store_true", help="run PyTorch first and store its values"
    )
    if parser.parse_args().torch:
        parity_torch.write()
        print(f"wrote {parity_torch.GOLDEN}")
    parity_table.write()
    print(f"wrote {parity_table.PATH}")


if __name__ == "__main__":
    main()
