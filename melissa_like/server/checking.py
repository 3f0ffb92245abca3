"""A server rank that looks at everything and trains nothing: the receiving end of `melissa-like check`.

It is opened and closed as one that trains, with another consumer. No torch.
"""

import math
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from melissa_like.config import load_config
from melissa_like.protocol.control import Checked, Restored, ServerFinished
from melissa_like.protocol.reports import FieldFindings, Findings, Summary
from melissa_like.records import FieldSpec, Layout, Purpose, Sample, SampleKey, ServerRank, StaticFields
from melissa_like.server.point_counts import CountedParts, PointCounts
from melissa_like.server.receiver import Receiver
from melissa_like.server.reception import Reception, place_of
from melissa_like.server.reporter import Orders
from melissa_like.transport import Transport

__all__ = ["CheckingConsumer", "run_checking_rank"]

_LOOK_AGAIN_S = 1.0
#: A receiver to which nothing has come for so long has all that was sent; but findings that come too late are lost.
_QUIET_S = 0.3
_QUIET_WITHIN_S = 1.0


@dataclass(slots=True)
class _Seen:
    """What was seen of one field."""

    lowest: float = math.inf
    highest: float = -math.inf
    not_finite: int = 0
    first_bad_step: int | None = None

    def look(self, values: npt.NDArray[Any], step: int) -> None:
        finite = np.isfinite(values)
        bad = int(values.size - finite.sum())
        self.not_finite += bad
        if bad and self.first_bad_step is None:
            self.first_bad_step = step
        if finite.any():
            self.lowest = min(self.lowest, float(values[finite].min()))
            self.highest = max(self.highest, float(values[finite].max()))

    def told(self, spec: FieldSpec, num_named: int | None = None) -> FieldFindings:
        known = self.lowest <= self.highest
        return FieldFindings(
            num_named=num_named,
            name=spec.name,
            lowest=self.lowest if known else None,
            highest=self.highest if known else None,
            not_finite=self.not_finite,
            first_bad_step=self.first_bad_step,
        )


@dataclass(slots=True)
class CheckingConsumer:
    """Takes complete samples and measures them; a check is small, so every sample has fresh memory."""

    layout: Layout
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _steps: list[int] = field(default_factory=list)
    _times: list[float] = field(default_factory=list)
    _arrived_at: list[float] = field(default_factory=list)
    _parameters: tuple[float, ...] = ()
    _sized: Layout | None = None
    _static: StaticFields | None = None
    _reserved: dict[tuple[int, int], tuple[npt.NDArray[Any], ...]] = field(default_factory=dict)

    def begin(self, simulation: int, attempt: int, layout: Layout) -> None:
        """The sizes of the one simulation; another attempt may have others."""
        self._reserved.clear()
        self._sized = layout

    def reserve(self, simulation: int, attempt: int, step: int) -> tuple[npt.NDArray[Any], ...]:
        """Fresh arrays, the same for the same sample."""
        key = (simulation, step)
        if key not in self._reserved:
            layout = self._sized or self.layout
            self._reserved[key] = tuple(np.empty(f.shape, dtype=f.numpy_dtype) for f in layout.fields)
        return self._reserved[key]

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...]:
        """Measure a sample; there is always room."""
        self._reserved.pop((sample.key.simulation, sample.key.step), None)
        self._arrived_at.append(time.time())
        self._steps.append(sample.key.step)
        self._times.append(sample.time)
        self._parameters = tuple(sample.parameters.tolist())
        self._static = sample.static
        for spec, values in zip(self.layout.fields, sample.fields, strict=True):
            self._seen.setdefault(spec.name, _Seen()).look(values, sample.key.step)
        return (sample.key,)

    def forget(self, simulation: int) -> None:
        """Drop what is incomplete."""
        self._reserved = {key: arrays for key, arrays in self._reserved.items() if key[0] != simulation}

    def close(self) -> None:
        """Nobody waits here."""

    def findings(self, points_by_rank: tuple[int, ...] = ()) -> Findings:
        """Everything seen so far.

        Args:
            points_by_rank: counted elsewhere.
        """
        physical = [t for t in self._times if math.isfinite(t)]
        return Findings(
            fields=tuple(self._seen.get(spec.name, _Seen()).told(spec) for spec in self.layout.fields),
            parameters=self._parameters,
            steps=(len(self._steps), min(self._steps), max(self._steps)) if self._steps else None,
            times=(min(physical), max(physical)) if physical else None,
            arrived_at=self._arrived_at[0] if self._arrived_at else None,
            seconds_per_step=float(np.median(np.diff(self._arrived_at))) if len(self._arrived_at) > 1 else None,
            points_by_rank=points_by_rank,
            extents={} if self._sized is None else self._sized.sizes,
            static=() if self._static is None else _looked_at(self.layout, self._static),
        )


def _looked_at(layout: Layout, static: StaticFields) -> tuple[FieldFindings, ...]:
    """What a simulation has sent once; numbers of points are below their number, the assembler has seen to that."""
    told = []
    for spec in layout.static:
        seen, values = _Seen(), static.arrays[spec.name]
        seen.look(values, 0)
        told.append(seen.told(spec, None if spec.indexes is None else int(np.unique(values).size)))
    return tuple(told)


def run_checking_rank(run_dir: Path, address: ServerRank, transport: Transport) -> int:
    """One server rank that measures instead of training, until its launcher says that nothing more comes."""
    config = load_config(run_dir)
    place = place_of(config, run_dir, address)
    over = threading.Event()
    errors: list[BaseException] = []

    def fail(error: BaseException) -> None:
        errors.append(error)
        over.set()

    consumer, counts = CheckingConsumer(place.layout), PointCounts(place.layout)
    stopped = threading.Event()

    def stop(reason: str, save_within_s: float) -> None:
        stopped.set()
        over.set()

    orders = Orders(reception_over=over.set, stop=stop)
    with Reception(
        place,
        transport=transport,
        consumers=dict.fromkeys(Purpose, consumer),
        orders=orders,
        on_error=fail,
        interval_s=config.monitoring.interval_s,
        through=lambda parts: CountedParts(parts, counts) if place.layout.extents else parts,
    ) as reception:
        reception.say_hello()
        if address.incarnation > 1:
            reception.tell(Restored(checkpoint=None))
        # No deadline: a solver may take hours to its first step. The launcher ends this process, or is watched.
        while not over.wait(_LOOK_AGAIN_S):
            continue
        if errors:
            reception.fail(f"{type(errors[0]).__name__}: {errors[0]}")
            raise errors[0]
        if stopped.is_set():
            _await_quiet(reception.receiver)
        reception.tell(Checked(findings=consumer.findings(counts.by_rank)))
        reception.tell(ServerFinished(end="drained", summary=Summary()))
    return 0


def _await_quiet(receiver: Receiver) -> None:
    """What was sent before the solver failed is still on its way: the findings tell of all that has arrived."""
    began = time.monotonic()
    while time.monotonic() < min(began + _QUIET_WITHIN_S, max(began, receiver.last_at or began) + _QUIET_S):
        time.sleep(_QUIET_S / 10)
