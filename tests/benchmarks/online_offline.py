"""Online against offline at equal training steps: `python -m tests.benchmarks online_offline --case NAME`.

The network, the recipe and the number of training steps are the same in all arms. Offline arms write N, 4 N and 16 N
simulations to HDF5 and train on them again and again; the online arm is a study with fresh simulations. Each finished
run is a file below runs/benchmarks/online_offline, so that an interrupted table goes on where it stopped.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.claim.case_table import CASES, SCALES, case_named
from tests.benchmarks.claim.cases import Case
from tests.benchmarks.claim.offline import run_offline
from tests.benchmarks.claim.online import run_online
from tests.benchmarks.claim.pictures import draw_case
from tests.benchmarks.claim.results import Folder, Result
from tests.benchmarks.claim.runs import chosen, finished, run_missing
from tests.benchmarks.claim.verdict import cost_rows_of, rows_of, verdict_of
from tests.benchmarks.measure import print_rows

RESULTS = Path("runs/benchmarks/online_offline")


def main(arguments: Sequence[str] = ()) -> None:
    """Run what is missing of the tables that are asked for, and show them."""
    asked = _parser().parse_args(arguments)
    for name in asked.case or list(dict.fromkeys(case.name for case in CASES if case.scale == asked.scale)):
        table(case_named(name, asked.scale, CASES), asked)


def table(case: Case, asked: Namespace) -> None:
    """One case: run what is missing, then print and draw what there is."""
    folder = asked.results / f"{case.name}-{case.scale}"
    kept = Folder(folder, Result)
    # Seed by seed: an interrupted table has whole rounds.
    runs = [case.run(arm, seed) for seed in range(asked.seeds) for arm in case.arms]
    if not asked.show:
        run_missing(kept, chosen(runs, asked.only), online=run_online, offline=run_offline)
    results = finished(kept, runs)
    if not results:
        sys.stdout.write(f"{case.name}: no run has finished\n")
        return
    print_rows(f"{case.name}: {case.surrogate}, {case.num_batches} training steps", rows_of(case, results))
    print_rows("what it cost", cost_rows_of(results))
    sys.stdout.write(f"N is {case.num_offline}: {case.reason}\n{verdict_of(case, results).text}\n")
    draw_case(folder / f"{case.name}.png", f"{case.name}: {case.surrogate}", results)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m tests.benchmarks online_offline", description=__doc__)
    names = list(dict.fromkeys(case.name for case in CASES))
    parser.add_argument("--case", action="append", choices=names, help="one table; again for more; default: all")
    parser.add_argument("--scale", choices=SCALES, default=SCALES[0], help="of the machine")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each arm")
    parser.add_argument("--only", action="append", metavar="ARM", help="as the table names it; again for more")
    parser.add_argument("--show", action="store_true", help="run nothing: show what has finished")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="of the files of finished runs")
    return parser
