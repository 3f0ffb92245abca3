"""Rows 4 and 5: batches from a full reservoir, alone and while samples are put, against memcpy and other buffers.

All on one torch thread. memcpy copies the bytes of a batch out of an array as large as the reservoir; the list of
tensors and TorchRL's ReplayBuffer (LazyTensorStorage, RandomSampler; extra `bench`) hold the same samples.
"""

import random
import threading
import time
from collections.abc import Callable

import numpy as np
import torch

from melissa_like.buffer import SampleBuffer, reservoir
from melissa_like.records import FieldSpec, Layout, SampleKey
from tests.benchmarks.measure import Row, interleave, memcpy_rate, print_rows, rate_of, ratio, shown

ROUNDS = 5
RUN_S = 0.4
SAMPLE_NBYTES = (40_000, 400_000, 4_000_000)
BATCHES = (10, 32, 128)
PARAMETERS = np.ones(5)


def full(nbytes: int, num_samples: int) -> SampleBuffer:
    """A reservoir full of seen samples."""
    layout = Layout(fields=(FieldSpec(name="u", shape=(nbytes // 4,)),), parameters=tuple("abcde"))
    buffer = reservoir(layout, num_samples, watermark=0, spare_slots=4)
    values = [np.ones(nbytes // 4, np.float32)]
    for number in range(num_samples):
        buffer.put(SampleKey(number, 0), values, time=0.0, parameters=PARAMETERS, timeout_s=1.0)
    while buffer.population().unseen:
        buffer.settle(buffer.draw(num_samples))
    return buffer


def drawing(buffer: SampleBuffer, batch_size: int) -> Callable[[], None]:
    """One batch: draw, gather into reused memory, settle."""
    memory = buffer.batch_memory(batch_size, pinned=False)

    def work() -> None:
        draw = buffer.draw(batch_size)
        buffer.gather(draw, memory)
        buffer.settle(draw)

    return work


def stacking(nbytes: int, num_samples: int, batch_size: int) -> Callable[[], None]:
    """A list of tensors and torch.stack."""
    samples = [torch.ones(nbytes // 4) for _ in range(num_samples)]

    def work() -> None:
        torch.stack(random.choices(samples, k=batch_size))

    return work


def replaying(nbytes: int, num_samples: int, batch_size: int) -> Callable[[], None] | None:
    """TorchRL, where it is installed."""
    try:
        from tensordict import TensorDict
        from torchrl.data import LazyTensorStorage, ReplayBuffer
        from torchrl.data.replay_buffers.samplers import RandomSampler
    except ImportError:
        return None
    replay = ReplayBuffer(storage=LazyTensorStorage(num_samples), sampler=RandomSampler(), batch_size=batch_size)
    replay.extend(TensorDict({"u": torch.ones(num_samples, nbytes // 4)}, batch_size=[num_samples]))
    return lambda: replay.sample()


def batches() -> None:
    """Row 4."""
    rows = []
    for nbytes in SAMPLE_NBYTES:
        num_samples = max(160, min(4000, 10**9 // nbytes))
        buffer = full(nbytes, num_samples)
        for batch_size in BATCHES:
            amount = nbytes * batch_size
            contestants = {"ours": drawing(buffer, batch_size), "list": stacking(nbytes, num_samples, batch_size)}
            replay = replaying(nbytes, num_samples, batch_size)
            if replay is not None:
                contestants["torchrl"] = replay
            measured = {
                name: (lambda work=work, a=amount: rate_of(work, a, at_least_s=RUN_S))
                for name, work in contestants.items()
            }
            rates = interleave(
                {
                    **measured,
                    "memcpy": lambda a=amount, t=nbytes * num_samples: memcpy_rate(
                        a, out_of_nbytes=t, at_least_s=RUN_S
                    ),
                },
                ROUNDS,
            )
            rows.append(
                Row(
                    {
                        "sample": f"{nbytes // 1000} KB",
                        "batch": str(batch_size),
                        "ours MiB/s": shown(rates["ours"], 2**20),
                        "ours / memcpy": ratio(rates, "ours", "memcpy"),
                        "ours / list + stack": ratio(rates, "ours", "list"),
                        "ours / TorchRL": ratio(rates, "ours", "torchrl") if replay else "not installed",
                    }
                )
            )
    print_rows("batches from a full reservoir, one thread", rows)


def at_once(left: Callable[[], None], right: Callable[[], None]) -> tuple[float, float]:
    """Calls per second of two pieces of work, each on a thread of its own, over the same time."""
    counts = [0, 0]
    until = time.perf_counter() + 2 * RUN_S

    def repeat(index: int, work: Callable[[], None]) -> None:
        while time.perf_counter() < until:
            work()
            counts[index] += 1

    threads = [threading.Thread(target=repeat, args=pair) for pair in enumerate((left, right))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    return counts[0] / (2 * RUN_S), counts[1] / (2 * RUN_S)


def put_and_draw() -> None:
    """Row 5."""
    rows = []
    for nbytes, batch_size in ((40_000, 32), (400_000, 32), (4_000_000, 16)):
        buffer = full(nbytes, max(160, min(4000, 10**9 // nbytes)))
        draw = drawing(buffer, batch_size)
        values = [np.ones(nbytes // 4, np.float32)]
        sample, batch = (np.ones(size, np.uint8) for size in (nbytes, nbytes * batch_size))
        sample_target, batch_target = np.zeros_like(sample), np.zeros_like(batch)

        def put(buffer: SampleBuffer = buffer, values: list[np.ndarray] = values) -> None:
            buffer.put(SampleKey(0, 0), values, time=0.0, parameters=PARAMETERS, timeout_s=1.0)

        found: dict[str, list[float]] = {"put": [], "draw": [], "copy": [], "batch copy": []}
        for _ in range(ROUNDS):
            ours = at_once(put, draw)
            limit = at_once(
                lambda a=sample, b=sample_target: np.copyto(b, a), lambda a=batch, b=batch_target: np.copyto(b, a)
            )
            for name, value in zip(found, (*ours, *limit), strict=True):
                found[name].append(value)
        rows.append(
            Row(
                {
                    "sample": f"{nbytes // 1000} KB",
                    "batch": str(batch_size),
                    "puts/s": shown(found["put"]),
                    "batches/s": shown(found["draw"]),
                    "put / its memcpy": ratio(found, "put", "copy"),
                    "draw / its memcpy": ratio(found, "draw", "batch copy"),
                }
            )
        )
    print_rows("put and draw at the same time, reservoir full; both memcpy streams at the same time", rows)


def main() -> None:
    """Both tables."""
    torch.set_num_threads(1)
    batches()
    put_and_draw()
