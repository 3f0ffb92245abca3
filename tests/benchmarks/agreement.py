"""Row 7: what the agreement between two server ranks costs, as their own report tells it.

Two server ranks over gloo train in a real study (launcher, solver jobs, two ranks of one torch thread each). Each
counts its loader's exchanges since its first training step, and the seconds in them, waiting for the other rank
included. The exchanges are the loader's thread's; the trainer computes meanwhile.
"""

import itertools
import statistics

from tests.benchmarks.measure import Row, print_rows, shown
from tests.benchmarks.streams import report_of

ROUNDS = 1
#: What the case is, samples per second of its one client, and the overrides that make it.
CASES = (
    ("32 x 32 cells, batch 64", 250.0, ("buffer.views_per_sample=null", "training.max_batches=1000")),
    ("100 x 100 cells, batch 10", 125.0, ("experiment=sc23_laptop", "training.max_batches=300")),
)
STEPS_PER_AGREEMENT = (16, 32)


def main() -> None:
    """The table."""
    rows = []
    for (name, rate, overrides), ahead in itertools.product(CASES, STEPS_PER_AGREEMENT):
        trainings = [
            report_of(
                *overrides,
                "solver.solve._target_=tests.benchmarks.paced.paced",
                "+solver.solve.solve=melissa_like.solvers.heat2d.solve",
                f"+solver.solve.rate={rate}",
                "solver.num_ranks=1",
                f"training.steps_per_agreement={ahead}",
                "launcher.max_jobs=1",
                "launcher.num_server_ranks=2",
                "study.num_simulations=2000",
                "study.num_validation_simulations=0",
                "training.validation_interval=0",
                "buffer.watermark=800",
                "monitoring.figures=false",
            )["training"]
            for _ in range(ROUNDS)
        ]
        shares = [100 * t["collective_seconds"] / t["seconds"] for t in trainings]
        rows.append(
            Row(
                {
                    "case": name,
                    "client": f"{rate:g}/s",
                    "steps settled at once": f"up to {ahead}",
                    "ms per step": shown([1000 * t["seconds"] / t["batches"] for t in trainings]),
                    "collectives per 1,000 steps": shown([1000 * t["collectives"] / t["batches"] for t in trainings]),
                    "ms each": shown([1000 * t["collective_seconds"] / t["collectives"] for t in trainings]),
                    "% of the steps' time": shown(shares),
                    "target": "1 %",
                    "": "met" if statistics.median(shares) <= 1 else "missed",
                }
            )
        )
    print_rows("agreement of 2 server ranks over gloo, measured inside rank 0", rows)
