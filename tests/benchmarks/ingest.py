"""Two producer processes into one server rank's buffer, against raw pyzmq with the same frames, and C against Python.

Ours is everything: the client's stream (header, conversion, byte budget), the receiving thread, validation, assembly,
deduplication, the look for values that are not finite (but where the row says "unchecked"), the way into a buffer, and
the reporter that tells a launcher. The peer sends a header and a payload of the same sizes with `copy=False` and
receives them into a preallocated array, over TCP, or over ipc where ours shares memory. Both run on all that the
machine has.

The last table is of whole clients, with their sessions and their line to a launcher: the one in Python against the one
in C, by what arrives and by the processor time that they take for it.
"""

import gc
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import zmq

from melissa_like.assembly import Assembler, Consumer, FiniteCheck
from melissa_like.buffer import SampleBuffer, fifo
from melissa_like.launcher.study_keys import StudyKeys, make_study_keys
from melissa_like.protocol.control import Metrics
from melissa_like.records import Layout, Purpose, Routing, SampleKey
from melissa_like.server.receiver import Receiver
from melissa_like.server.reporter import Orders, Reporter
from melissa_like.transport.in_memory import MemoryTransport
from melissa_like.transport.zmq_transport import ZmqTransport
from tests.benchmarks.clients import KEYS, build, clients
from tests.benchmarks.measure import Row, interleave, print_rows, rate_of, ratio, shown
from tests.benchmarks.producers import DEADLINE_S, IDENTITY, NUM_PRODUCERS, layout_of, producers, start, volume

Sending = AbstractContextManager[list["subprocess.Popen[str]"]]

ROUNDS = 5
_HEADER_NBYTES = 128
#: How the two producers split a field; whole: each sends half of the samples.
SPLITS = ("whole", "rows", "columns", "blocks")
#: Whole samples, and the same without a look for values that are not finite.
LOOKS = ("whole", "unchecked")


def ours(nbytes: int, buffer: SampleBuffer, split: str, *, shares_memory: bool, keys: StudyKeys | None = None) -> float:
    """Bytes per second into the buffer; without keys whoever connects is let in."""
    shown = None if keys is None else keys.credentials("job")

    def sending(endpoint: str) -> Sending:
        how = "whole" if split == "unchecked" else split
        return producers("ours", endpoint, nbytes, how, msgspec.json.encode(shown).decode())

    rate, _ = received(nbytes, buffer, sending, looks=split != "unchecked", shares_memory=shares_memory, keys=keys)
    return rate


def received(
    nbytes: int,
    buffer: SampleBuffer,
    sending: Callable[[str], Sending],
    *,
    looks: bool = True,
    shares_memory: bool,
    keys: StudyKeys | None = None,
) -> tuple[float, list["subprocess.Popen[str]"]]:
    """Bytes per second into the buffer of what producers send to an endpoint, and the producers, which have ended."""
    layout = layout_of(nbytes)
    errors: list[BaseException] = []
    checked = FiniteCheck(buffer, layout, drops=False, give_back=buffer.give_back)
    consumers: dict[Purpose, Consumer] = {Purpose.TRAINING: checked if looks else buffer}
    memory = MemoryTransport()
    launcher = memory.control_server()
    mine = None if keys is None else keys.credentials("server")
    with closing(ZmqTransport(shares_memory=shares_memory, credentials=mine)) as transport:
        parts = transport.part_receiver(queue_length=8)
        receiver = Receiver(
            socket=parts,
            assembler=Assembler(
                layout=layout,
                identity=IDENTITY,
                server_rank=0,
                num_server_ranks=1,
                routing=Routing.SAMPLE,
                consumers=consumers,
            ),
            consumers=consumers,
            tell=lambda news: reporter.tell(news),
            on_error=errors.append,
        )
        reporter = Reporter(
            socket=memory.control_client(launcher.server_endpoint, b"server-0"),
            identity=IDENTITY,
            orders=Orders(),
            measure=Metrics,
            put_waits=lambda: receiver.put_waits,
            sinks=(),
            interval_s=1.0,
            on_error=errors.append,
        )
        receiver.start()
        reporter.start()
        expected = buffer.population().puts + volume(nbytes)
        with sending(parts.endpoint) as started:
            start(started)
            deadline = time.monotonic() + DEADLINE_S
            while buffer.population().puts < expected and time.monotonic() < deadline and not errors:
                time.sleep(0.005)
        receiver.close(DEADLINE_S)
        reporter.close(DEADLINE_S)
        if errors or buffer.population().puts < expected:
            raise RuntimeError(f"{errors}, {receiver.refused}")
        assert receiver.first_at is not None
        assert receiver.last_at is not None
        return volume(nbytes) * nbytes / (receiver.last_at - receiver.first_at), started


def raw(nbytes: int, memory: "np.ndarray[tuple[int, int], np.dtype[np.uint8]]", address: str) -> float:
    """Bytes per second into a preallocated array."""
    count = volume(nbytes) // NUM_PRODUCERS * NUM_PRODUCERS
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.setsockopt(zmq.RCVHWM, 16)
        socket.bind(address)
        endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        with producers("raw", endpoint, nbytes, _HEADER_NBYTES) as started:
            start(started)
            begun = 0.0
            for number in range(count):
                socket.recv()
                begun = begun or time.monotonic()
                socket.recv_into(memory[number])
            elapsed = time.monotonic() - begun
        return count * nbytes / elapsed


def copied(memory: "np.ndarray[tuple[int, int], np.dtype[np.uint8]]") -> float:
    """Bytes per second of one thread that copies the same array, as the producers send it, to each place."""
    payload = np.ones(memory.shape[1], np.uint8)

    def work() -> None:
        for place in memory:
            np.copyto(place, payload)

    return rate_of(work, memory.nbytes)


def compare(sizes: tuple[int, ...], splits: tuple[str, ...], title: str, *, shares_memory: bool) -> None:
    """One table: ours, the peer, their ratio; with shared memory also memcpy."""
    rows = []
    address = "ipc://*" if shares_memory else "tcp://127.0.0.1:*"
    for nbytes in sizes:
        memory = np.ones((volume(nbytes), nbytes), np.uint8)  # touched: page faults are not the wire

        def run(split: str, nbytes: int = nbytes) -> float:
            gc.collect()  # the last round's buffer, a gigabyte in a cycle of references
            # A fresh buffer that holds all samples, its memory touched before, so that nothing waits and pages exist.
            buffer = fifo(layout_of(nbytes), volume(nbytes), spare_slots=8)
            touch(buffer, layout_of(nbytes), volume(nbytes))
            return ours(nbytes, buffer, split, shares_memory=shares_memory)

        contestants = {split: (lambda split=split: run(split)) for split in splits}
        contestants["raw"] = lambda m=memory, n=nbytes: raw(n, m, address)
        if shares_memory:
            contestants["memcpy"] = lambda m=memory: copied(m)
        rates = interleave(contestants, ROUNDS)
        for split in splits:
            cells = {
                "part": f"{'' if split in LOOKS else 'half of '}{nbytes // 1024} KiB, {split}",
                "ours MiB/s": shown(rates[split], 2**20),
                "raw pyzmq MiB/s": shown(rates["raw"], 2**20),
                "ours / raw": ratio(rates, split, "raw"),
            }
            if shares_memory:
                cells["ours / memcpy"] = ratio(rates, split, "memcpy")
            if len(splits) > 1:
                cells["ours / whole"] = ratio(rates, split, "whole")
            rows.append(Row(cells))
    print_rows(title, rows)


def compare_encryption(sizes: tuple[int, ...]) -> None:
    """What it costs over TCP to let in only who knows the secret, and to encrypt what they send."""
    rows = []
    for nbytes in sizes:

        def run(encryption: str, nbytes: int = nbytes) -> float:
            gc.collect()
            buffer = fifo(layout_of(nbytes), volume(nbytes), spare_slots=8)
            touch(buffer, layout_of(nbytes), volume(nbytes))
            keys = None if encryption == "open" else make_study_keys(encryption)
            return ours(nbytes, buffer, "whole", shares_memory=False, keys=keys)

        rates = interleave({e: (lambda e=e: run(e)) for e in ("open", "control", "all")}, ROUNDS)
        cells = {"part": f"{nbytes // 1024} KiB", "open MiB/s": shown(rates["open"], 2**20)}
        for encryption in ("control", "all"):
            cells[f"encryption={encryption} MiB/s"] = shown(rates[encryption], 2**20)
            cells[f"{encryption} / open"] = ratio(rates, encryption, "open")
        rows.append(Row(cells))
    print_rows("the same over TCP by transport.encryption", rows)


def compare_clients(sizes: tuple[int, ...], *, shares_memory: bool) -> None:
    """The client in C against the one in Python."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        programs = {"Python": None, "C": build(Path(folder))}
        for nbytes in sizes:
            seconds: dict[str, list[float]] = {language: [] for language in programs}

            def run(language: str, nbytes: int = nbytes, seconds: dict[str, list[float]] = seconds) -> float:
                gc.collect()
                buffer = fifo(layout_of(nbytes), volume(nbytes), spare_slots=8)
                touch(buffer, layout_of(nbytes), volume(nbytes))
                sending = partial(clients, nbytes=nbytes, program=programs[language])
                rate, ended = received(nbytes, buffer, sending, shares_memory=shares_memory, keys=KEYS)
                used = sum(float(process.communicate()[0]) for process in ended)
                seconds[language].append(used / volume(nbytes))
                return rate

            rates = interleave({language: (lambda language=language: run(language)) for language in programs}, ROUNDS)
            cells = {"part": f"{nbytes // 1024} KiB"}
            for language in programs:
                cells[f"{language} MiB/s"] = shown(rates[language], 2**20)
            cells["C / Python"] = ratio(rates, "C", "Python")
            for language in programs:
                cells[f"{language}: µs a part"] = shown(seconds[language], 1e-6)
            cells["processor time, C / Python"] = ratio(seconds, "C", "Python")
            rows.append(Row(cells))
    how = "through shared memory" if shares_memory else "TCP"
    print_rows(f"two clients in Python or in C, {how}: what arrives, and their processor time", rows)


def touch(buffer: SampleBuffer, layout: Layout, num_samples: int) -> None:
    """Write every slot, the spare ones too, and empty the buffer again."""
    values = [np.zeros(field.shape, np.float32) for field in layout.fields]
    for number in range(2 * num_samples):
        buffer.put(SampleKey(number, 0), values, time=0.0, parameters=np.zeros(1), timeout_s=DEADLINE_S)
        buffer.settle(buffer.draw(1))


def main() -> None:
    """All tables."""
    sizes = (4096, 2**16, 2**20, 2**24)
    compare(sizes, LOOKS, "two producers into one server rank's buffer, TCP", shares_memory=False)
    compare(sizes[1:], LOOKS, "the same through shared memory, raw pyzmq over ipc", shares_memory=True)
    compare((2**20,), SPLITS, "two client ranks, one field split between them, TCP", shares_memory=False)
    compare_encryption((2**16, 2**20))
    for shares_memory in (False, True):
        compare_clients(sizes, shares_memory=shares_memory)
