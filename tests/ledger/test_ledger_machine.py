"""R1: random lives of the books against an oracle in exact fractions."""

from __future__ import annotations

import os
import random

from ledger_machine import Machine

RUNS, STEPS = 500, 50


def test_the_books_agree_with_an_exact_oracle_through_random_lives() -> None:
    first = int(os.environ.get("LEDGER_SEED", random.randrange(10**9)))
    runs = 1 if "LEDGER_SEED" in os.environ else RUNS
    for seed in range(first, first + runs):
        try:
            Machine(seed).run(STEPS)
        except BaseException:
            print(f"replay with LEDGER_SEED={seed}")
            raise
    print(f"R1: {runs} runs × {STEPS} steps from seed {first}: 0 violations")
