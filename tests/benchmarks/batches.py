"""Rows 4 and 5: batches from a full reservoir, alone and while samples are put, against memcpy and other buffers.

The same for windows of time steps, and how fast they are formed.

All on one torch thread. memcpy copies the bytes of a batch out of an array as large as the reservoir; the list of
tensors and TorchRL's ReplayBuffer (LazyTensorStorage, RandomSampler; extra `bench`) hold the same samples.
"""

import itertools
import random
import threading
import time
from collections.abc import Callable

import numpy as np
import torch

from melissa_like.assembly import WindowForming, WindowTally
from melissa_like.buffer import HostStorage, SampleBuffer, reservoir
from melissa_like.buffer.pins import Pins
from melissa_like.buffer.policies import AlwaysOpen, Level, Uniform
from melissa_like.records import FieldSpec, Layout, Purpose, Sample, SampleKey, Window
from tests.benchmarks.measure import Row, interleave, memcpy_rate, print_rows, rate_of, ratio, shown
from tests.benchmarks.mesh_batches import drawing, mesh_batches

ROUNDS = 5
RUN_S = 0.4
SAMPLE_NBYTES = (40_000, 400_000, 4_000_000)
BATCHES = (10, 32, 128)
PARAMETERS = np.ones(5)
WINDOW_STEP_NBYTES, WINDOW_BATCH = 40_000, 16


def layout_of(nbytes: int) -> Layout:
    """One field of so many bytes, five parameters."""
    return Layout(fields=(FieldSpec(name="u", shape=(nbytes // 4,)),), parameters=tuple("abcde"))


LAYOUT = layout_of(WINDOW_STEP_NBYTES)


def filled(buffer: SampleBuffer, nbytes: int, num_samples: int) -> SampleBuffer:
    """Put as many samples as it holds, and see all of them."""
    values = [np.ones(nbytes // 4, np.float32)]  # of a window each step is the same
    for number in range(num_samples):
        buffer.put(SampleKey(number, 0), values, time=0.0, parameters=PARAMETERS, timeout_s=1.0)
    while buffer.population().unseen:
        buffer.settle(buffer.draw(num_samples))
    return buffer


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
        buffer = filled(reservoir(layout_of(nbytes), num_samples, watermark=0), nbytes, num_samples)
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


class EvictAny:
    """Evicts any sample that is not pinned, seen or not.

    Two streams of the same bytes put as many samples as they draw; a reservoir would then be full of unseen samples,
    and its puts would wait for draws by rule, whatever the speed. This takes the rule away and leaves the machinery.
    """

    def __init__(self, selector: Uniform) -> None:
        self._selector = selector
        self._level = Level(capacity=1)

    def add(self, slot: int) -> None:
        """Seen or not does not matter."""

    def discard(self, slot: int) -> None:
        """The selector knows."""

    def finds(self, pins: Pins) -> bool:
        """The reservoir is full and far larger than what is pinned."""
        return True

    def pick(self, uniform: Callable[[], float], pins: Pins) -> int:
        """By rejection."""
        while True:
            slot = int(self._selector.pick(np.array([uniform()]), self._level)[0])
            if slot not in pins:
                return slot


def without_back_pressure(nbytes: int, num_samples: int, window_length: int | None = None) -> SampleBuffer:
    """A full reservoir whose puts never wait."""
    selector = Uniform()
    layout = layout_of(nbytes)
    return filled(
        SampleBuffer(
            HostStorage(layout, num_samples + 4, window_length=window_length),
            capacity=num_samples,
            selector=selector,
            evictor=EvictAny(selector),
            gate=AlwaysOpen(),
            draws_until_removed=None,
        ),
        nbytes,
        num_samples,
    )


def at_once(left: Callable[[], None], right: Callable[[], None]) -> tuple[float, float]:
    """Calls per second of two pieces of work, each on a thread of its own, over the same time."""
    left()
    right()
    counts = [0, 0]
    start = threading.Barrier(2)

    def repeat(index: int, work: Callable[[], None]) -> None:
        start.wait(60.0)
        until = time.perf_counter() + 2 * RUN_S
        while time.perf_counter() < until:
            work()
            counts[index] += 1

    threads = [threading.Thread(target=repeat, args=pair) for pair in enumerate((left, right))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    return counts[0] / (2 * RUN_S), counts[1] / (2 * RUN_S)


def copying(reservoir_nbytes: int, nbytes: int, batch_nbytes: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """memcpy of a sample into, and of a batch out of, an array as large as the reservoir, going round in it."""
    array = np.ones(reservoir_nbytes, np.uint8)
    sample, batch = np.ones(nbytes, np.uint8), np.ones(batch_nbytes, np.uint8)
    places = itertools.cycle(range(0, reservoir_nbytes - nbytes + 1, nbytes))
    starts = itertools.cycle(range(0, reservoir_nbytes - batch_nbytes + 1, batch_nbytes))

    def put() -> None:
        place = next(places)
        np.copyto(array[place : place + nbytes], sample)

    def draw() -> None:
        start = next(starts)
        np.copyto(batch, array[start : start + batch_nbytes])

    return put, draw


def put_and_draw() -> None:
    """Row 5."""
    rows = []
    for nbytes, batch_size in ((40_000, 32), (400_000, 32), (4_000_000, 16)):
        num_samples = max(160, min(4000, 10**9 // nbytes))
        buffer = without_back_pressure(nbytes, num_samples)
        values = [np.ones(nbytes // 4, np.float32)]

        def put(buffer: SampleBuffer = buffer, values: list[np.ndarray] = values) -> None:
            buffer.put(SampleKey(0, 0), values, time=0.0, parameters=PARAMETERS, timeout_s=1.0)

        streams = (put, drawing(buffer, batch_size))
        limits = copying(nbytes * num_samples, nbytes, nbytes * batch_size)
        found: dict[str, list[float]] = {"put": [], "draw": [], "copy": [], "batch copy": []}
        for _ in range(ROUNDS):
            for name, value in zip(found, (*at_once(*streams), *at_once(*limits)), strict=True):
                found[name].append(value)
        # The two share one memory: what one of them takes more, the other has less.
        for name, (puts, draws) in {"ours": ("put", "draw"), "memcpy": ("copy", "batch copy")}.items():
            found[name] = [a + batch_size * b for a, b in zip(found[puts], found[draws], strict=True)]
        rows.append(
            Row(
                {
                    "sample": f"{nbytes // 1000} KB",
                    "batch": str(batch_size),
                    "puts/s": shown(found["put"]),
                    "batches/s": shown(found["draw"]),
                    "put / its memcpy": ratio(found, "put", "copy"),
                    "draw / its memcpy": ratio(found, "draw", "batch copy"),
                    "bytes of both / both memcpy": ratio(found, "ours", "memcpy"),
                }
            )
        )
    print_rows("put and draw at the same time, reservoir full; both memcpy streams at the same time", rows)


def forming(buffer: SampleBuffer, window: Window) -> Callable[[], None]:
    """One time step that is complete: the windows which are complete with it are formed and put."""
    taker = WindowForming(buffer, LAYOUT, window, num_steps=None, give_back=buffer.give_back)
    tally, steps = WindowTally(window, num_steps=None), itertools.count()

    def work() -> None:
        step = next(steps)
        fields = taker.reserve(0, 1, step)
        sample = Sample(
            key=SampleKey(0, step),
            attempt=1,
            purpose=Purpose.TRAINING,
            time=0.0,
            parameters=PARAMETERS,
            fields=fields,
            windows=tally.add(step),
        )
        if taker.take(sample, 1.0) is None:
            raise RuntimeError("a window waits for room")

    return work


def windows() -> None:
    """Windows of L time steps of 40 KB: batches, and forming, with every step in L windows or in one."""
    rows = []
    for length in (2, 5, 20):
        nbytes = length * WINDOW_STEP_NBYTES
        num_samples = max(160, min(4000, 10**9 // nbytes))
        buffer = without_back_pressure(WINDOW_STEP_NBYTES, num_samples, length)
        batch = WINDOW_BATCH * nbytes
        contestants: dict[str, Callable[[], None]] = {
            "batch": drawing(buffer, WINDOW_BATCH),
            "overlapping": forming(buffer, Window(length=length)),
            "in place": forming(buffer, Window(length=length, hop=length)),
        }
        amounts = {"batch": batch, "overlapping": nbytes, "in place": 1}
        measured = {
            name: (lambda work=work, a=amounts[name]: rate_of(work, a, at_least_s=RUN_S))
            for name, work in contestants.items()
        }
        copy_in, copy_out = copying(nbytes * num_samples, nbytes, batch)
        copies = {
            "copy of a batch": lambda work=copy_out, a=batch: rate_of(work, a, at_least_s=RUN_S),
            "copy of a window": lambda work=copy_in, a=nbytes: rate_of(work, a, at_least_s=RUN_S),
        }
        rates = interleave({**measured, **copies}, ROUNDS)
        rows.append(
            Row(
                {
                    "L": str(length),
                    "batch": str(WINDOW_BATCH),
                    "batch MiB/s": shown(rates["batch"], 2**20),
                    "batch / memcpy": ratio(rates, "batch", "copy of a batch"),
                    "hop 1: steps/s": shown(rates["overlapping"], nbytes),
                    "copies / memcpy": ratio(rates, "overlapping", "copy of a window"),
                    "hop L: steps/s": shown(rates["in place"]),
                }
            )
        )
    print_rows("windows of L time steps of 40 KB, one thread: batches, and forming", rows)


def main() -> None:
    """All tables."""
    torch.set_num_threads(1)
    batches()
    put_and_draw()
    windows()
    mesh_batches()
