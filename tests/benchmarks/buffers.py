"""Three buffers against shuffled files: `python -m tests.benchmarks buffers --case NAME`.

All make the same number of training steps with the same network and a constant learning rate, as in SC'23. Production
is slower than the training, then faster; both are paced, so that the figures depend little on the machine. Finished
runs are files below runs/benchmarks/buffers, so that an interrupted table goes on where it stopped.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.claim.feeds import BUFFER_CASES, BufferCase
from tests.benchmarks.claim.offline import run_offline
from tests.benchmarks.claim.online import run_online
from tests.benchmarks.claim.pictures import draw_curves
from tests.benchmarks.claim.results import Folder, Result
from tests.benchmarks.claim.runs import chosen, finished, run_missing
from tests.benchmarks.claim.verdict import spread
from tests.benchmarks.measure import Row, print_rows

RESULTS = Path("runs/benchmarks/buffers")


def main(arguments: Sequence[str] = ()) -> None:
    """Run what is missing of the tables that are asked for, and show them."""
    asked = _parser().parse_args(arguments)
    for case in BUFFER_CASES:
        if not asked.case or case.name in asked.case:
            table(case, asked)


def table(case: BufferCase, asked: Namespace) -> None:
    """One case: run what is missing, then print and draw what there is."""
    folder = asked.results / case.name
    kept = Folder(folder, Result)
    runs = [run for seed in range(asked.seeds) for run in case.runs(seed)]
    if not asked.show:
        run_missing(kept, chosen(runs, asked.only), online=run_online, offline=run_offline)
    results = finished(kept, runs)
    if not results:
        sys.stdout.write(f"{case.name}: no run has finished\n")
        return
    print_rows(f"{case.name}: {case.surrogate}, {case.num_batches} training steps", rows_of(results))
    panels = panels_of(case, results)
    if panels:
        draw_curves(folder / f"{case.name}.png", panels)


def rows_of(results: Mapping[str, Sequence[Result]]) -> list[Row]:
    """One row per feed of which a run has finished."""
    return [
        Row(
            {
                "feed": name,
                "unique simulations": str(runs[0].num_simulations),
                "seeds": str(len(runs)),
                "one step %": spread([100 * run.held_out.mean for run in runs]),
                "p99 %": spread([100 * run.held_out.p99 for run in runs]),
                "max %": spread([100 * run.held_out.max for run in runs]),
                "mse": spread([run.held_out.mse for run in runs]),
                "training %": spread([100 * run.training.mean for run in runs]),
                "input wait %": spread([100 * run.input_wait for run in runs]),
                "seconds": spread([run.seconds for run in runs], "{:.0f}".format),
            }
        )
        for name, runs in results.items()
    ]


def panels_of(case: BufferCase, results: Mapping[str, Sequence[Result]]) -> dict[str, dict[str, Sequence[Result]]]:
    """Per pace the curves of its feeds, first seeds, with that of offline; a pace without any is left out."""
    panels = {}
    for pace in case.paces:
        prefix = f"{pace.name}-"
        curves = {name.removeprefix(prefix): runs[:1] for name, runs in results.items() if name.startswith(prefix)}
        offline = {name: runs[:1] for name, runs in results.items() if name == "offline"}
        if curves:
            panels[f"{case.name}: {pace.name} production"] = {**curves, **offline}
    return panels


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m tests.benchmarks buffers", description=__doc__)
    names = [case.name for case in BUFFER_CASES]
    parser.add_argument("--case", action="append", choices=names, help="one table; again for more; default: all")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each feed")
    parser.add_argument("--only", action="append", metavar="FEED", help="as the table names it; again for more")
    parser.add_argument("--show", action="store_true", help="run nothing: show what has finished")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="of the files of finished runs")
    return parser
