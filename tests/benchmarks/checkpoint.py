"""What a checkpoint costs with a buffer of 2 GiB: how long the training pauses, how long it is written, how puts wait.

Two tables. The first is of a real study whose buffer is full most of the time, with checkpoints and without, so that
the pause, the share of an interval of 60 s that it is, and the training rate with and without can be read off. The
second is of a full buffer alone, in this process: how long puts take while it is written to a disk, and otherwise.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from melissa_like.buffer import SampleBuffer, reservoir
from melissa_like.records import FieldSpec, Layout, SampleKey
from melissa_like.training.checkpoint import PIECE_NBYTES, CheckpointFolder, CheckpointWriter, ShardContent
from tests.benchmarks.measure import Row, print_rows
from tests.benchmarks.streams import report_of

SIDE = 256
NUM_STEPS = 100
CAPACITY = 2 * 2**30 // (4 * SIDE * SIDE)
INTERVAL_S = 10.0
TARGET_S = 60.0
DEADLINE_S = 120.0


def solve(parameters: Mapping[str, float], comm: Any) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Steps of a quarter of a megabyte that cost nothing to compute."""
    values = np.full((SIDE, SIDE), parameters["a"], np.float32)
    for step in range(NUM_STEPS):
        yield step, {"u": values}


def study(interval_s: str) -> dict[str, Any]:
    """The report of a study of a minute or so."""
    return report_of(
        "solver=empty",
        "solver.name=checkpoint",
        "+solver.solve._target_=tests.benchmarks.checkpoint.solve",
        f"+solver.fields.u={{shape:[{SIDE},{SIDE}],bounds:[-1,1]}}",
        "+solver.parameters.a={_target_:melissa_like.sampling.Uniform,low:-1,high:1}",
        "solver.num_ranks=1",
        "solver.launch=''",
        f"solver.num_steps={NUM_STEPS}",
        "study.num_simulations=150",
        "study.num_validation_simulations=0",
        f"buffer.capacity={CAPACITY}",
        "buffer.views_per_sample=null",
        "training.batch_size=64",
        f"training.checkpoint.interval_s={interval_s}",
        "model.hidden=[16]",
        "launcher.max_jobs=1",
        "monitoring.figures=false",
    )


def full_buffer() -> SampleBuffer:
    """All samples are seen, so that every put evicts one."""
    buffer = reservoir(Layout(fields=(FieldSpec(name="u", shape=(SIDE, SIDE)),), parameters=("a",)), CAPACITY)
    for number in range(CAPACITY):
        put(buffer, number)
    memory = buffer.batch_memory(64, pinned=False)
    while buffer.population().unseen:
        draw = buffer.draw(64)
        buffer.gather(draw, memory)
        buffer.settle(draw)
    return buffer


VALUES = [np.ones((SIDE, SIDE), np.float32)]


def put(buffer: SampleBuffer, number: int) -> None:
    done = buffer.put(SampleKey(number, 0), VALUES, time=0.0, parameters=np.zeros(1), timeout_s=DEADLINE_S)
    assert done, "a put waited for ever"


def put_latencies(buffer: SampleBuffer, numbers: Iterator[int], until: Callable[[], bool]) -> list[float]:
    """Of puts at a pace of some hundred a second, each with a draw that makes its sample seen; seconds."""
    latencies = []
    memory = buffer.batch_memory(64, pinned=False)
    while not until():
        started = time.perf_counter()
        put(buffer, next(numbers))
        latencies.append(time.perf_counter() - started)
        draw = buffer.draw(64)
        buffer.gather(draw, memory)
        buffer.settle(draw)
    return latencies


def waits() -> list[Row]:
    """Puts while the buffer is written, and as many seconds without."""
    buffer, rows, numbers = full_buffer(), [], itertools.count(CAPACITY)
    with TemporaryDirectory(dir=Path.cwd()) as folder:
        writer = CheckpointWriter(CheckpointFolder(Path(folder)), 0)
        writer.start()
        quiet_until = time.monotonic() + 5.0
        quiet = put_latencies(buffer, numbers, lambda: time.monotonic() >= quiet_until)
        started = time.perf_counter()
        kept = buffer.keep()
        paused_s = time.perf_counter() - started
        content = ShardContent(state={}, index=kept.state.as_dict(), samples=kept.pieces(PIECE_NBYTES))
        writer.write(1, content, kept.let_go)
        writing = put_latencies(buffer, numbers, lambda: writer.ended[0] == 1)
        assert writer.problem is None, writer.problem
        writer.close(DEADLINE_S)
        for name, found in (("not written", quiet), ("being written", writing)):
            found.sort()
            rows.append(
                Row(
                    {
                        "a full buffer of 2 GiB": name,
                        "puts": str(len(found)),
                        "median": f"{1e6 * statistics.median(found):.0f} µs",
                        "99 of 100 below": f"{1e6 * found[int(0.99 * len(found))]:.0f} µs",
                        "longest": f"{1e3 * found[-1]:.0f} ms",
                        "keep all its slots": f"{1e3 * paused_s:.1f} ms" if found is writing else "",
                        "written in": f"{writer.seconds:.1f} s" if found is writing else "",
                    }
                )
            )
    return rows


def main() -> None:
    """Both tables."""
    torch.set_num_threads(1)
    rows = []
    for interval_s in (str(INTERVAL_S), "null"):
        report = study(interval_s)
        training, taken = report["training"], report["checkpoints"]
        pause = "–" if taken is None else f"{1e3 * taken['seconds_paused'] / taken['written']:.0f} ms"
        share = "–" if taken is None else f"{taken['seconds_paused'] / taken['written'] / TARGET_S:.2%}"
        rows.append(
            Row(
                {
                    "interval": interval_s,
                    "training": f"{training['seconds']:.0f} s, {training['samples_per_second']:.0f} samples/s",
                    "received": f"{report['ingest']['bytes_per_second'] / 2**20:.0f} MiB/s",
                    "checkpoints": "0" if taken is None else str(taken["written"]),
                    "paused for each": pause,
                    "of 60 s": share,
                    "written in": "–" if taken is None else f"{taken['seconds_writing'] / taken['written']:.1f} s",
                    "target": "≤ 2 %" if taken is not None else "",
                }
            )
        )
    print_rows(f"a study with a buffer of 2 GiB ({CAPACITY} samples)", rows)
    print_rows("puts into a full buffer, each evicts a sample", waits())


if __name__ == "__main__":
    main()
