"""Where measured values go: one small object per destination, one method."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

__all__ = ["JsonLinesSink", "LenientSink", "Recorder", "Relay", "Sink", "TensorBoardSink"]


class Sink(Protocol):
    """Takes the values of one moment; owned by the thread that writes."""

    def write(self, at_s: float, values: Mapping[str, float]) -> None:
        """Keep the values measured at `at_s` on the monotonic clock."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class Relay:
    """Hands on to sinks that are given when it is known where they go on; what comes before is not kept.

    Attributes:
        sinks: one reference, set by whoever opens them.
    """

    def __init__(self) -> None:
        self.sinks: tuple[Sink, ...] = ()

    def write(self, at_s: float, values: Mapping[str, float]) -> None:
        """Write to each."""
        for sink in self.sinks:
            sink.write(at_s, values)

    def close(self) -> None:
        """Close each."""
        for sink in self.sinks:
            sink.close()


class Recorder:
    """Keeps every row in memory, for the figures at the end; thins itself so that it never grows past a bound.

    Args:
        max_rows: when reached, every second row is dropped and from then on every second one kept.
    """

    def __init__(self, max_rows: int = 4000) -> None:
        self.rows: tuple[dict[str, float], ...] = ()  # replaced, never changed: the trainer's thread reads it
        self._max_rows = max_rows
        self._stride = 1
        self._count = 0
        self._started_at: float | None = None
        self._seconds_before = 0.0

    def write(self, at_s: float, values: Mapping[str, float]) -> None:
        """Keep a row; its key `seconds` counts from the first."""
        if self._started_at is None:
            self._started_at = at_s - self._seconds_before
        if self._count % self._stride == 0:
            self.rows = (*self.rows, {"seconds": at_s - self._started_at, **values})
        self._count += 1
        if len(self.rows) >= self._max_rows:
            self.rows = self.rows[::2]
            self._stride *= 2

    def close(self) -> None:
        """Nothing to write."""

    def state_dict(self) -> dict[str, Any]:
        """What it has kept, for a restart; from any thread."""
        return {"rows": [*self.rows], "stride": self._stride, "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from it: `seconds` go on where they ended, as if the time between had not been."""
        self.rows = tuple(state["rows"])
        self._stride, self._count = state["stride"], state["count"]
        self._seconds_before = self.rows[-1]["seconds"] if self.rows else 0.0


class LenientSink:
    """Writes to another sink, until the world does not let it: that ends neither the thread nor the study.

    Args:
        sink: written to.
        what: it is, for people.

    Attributes:
        problem: why it is not written to any more; None while it is.
    """

    def __init__(self, sink: Sink, what: str) -> None:
        self._sink = sink
        self._what = what
        self.problem: str | None = None

    def write(self, at_s: float, values: Mapping[str, float]) -> None:
        """Write, unless it has failed before."""
        if self.problem is None:
            try:
                self._sink.write(at_s, values)
            except OSError as error:
                self._note(error)

    def close(self) -> None:
        """Close the other sink."""
        try:
            self._sink.close()
        except OSError as error:
            self._note(error)

    def _note(self, error: OSError) -> None:
        self.problem = f"{self._what} cannot be written any more: {error}"
        sys.stderr.write(f"{self.problem}\n")


class JsonLinesSink:
    """One JSON object per line: time of day in seconds, then the values; null is what is not finite, as in JSON.

    Attributes:
        position: bytes written to the file; one reference, read by whoever takes a checkpoint.

    Args:
        path: of the file.
        position: where to go on, in bytes: what a lost server rank has written behind it is not of this training.
    """

    def __init__(self, path: Path, position: int = 0) -> None:
        self._path = path
        self._stream: BinaryIO | None = None
        self.position = position

    def write(self, at_s: float, values: Mapping[str, float]) -> None:
        """Append a line, at once: what cannot be written is told when it happens."""
        if self._stream is None:
            self._stream = self._open()
        told = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = json.dumps({"time": time.time(), **told}).encode() + b"\n"
        self._stream.write(line)
        self._stream.flush()
        self.position += len(line)

    def _open(self) -> BinaryIO:
        if self.position and self._path.exists():
            self.position = min(self.position, self._path.stat().st_size)
            os.truncate(self._path, self.position)
            return self._path.open("ab")
        self.position = 0
        return self._path.open("wb")

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()


class TensorBoardSink:
    """TensorBoard events; the horizontal axis is the training step. Opened at the first write.

    Args:
        folder: of the events.
        purge_step: what lost server ranks have written of this training step and later ones is not shown.
    """

    def __init__(self, folder: Path, purge_step: int = 0) -> None:
        self._folder = folder
        self._purge_step = purge_step
        self._writer: Any = None

    def write(self, at_s: float, values: Mapping[str, float]) -> None:
        """Write one scalar per value."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge_step)
        step = int(values.get("batches", 0))
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the event file."""
        if self._writer is not None:
            self._writer.close()
