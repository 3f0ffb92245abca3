"""`Cut`: what a server rank holds at one moment of its stream, and how a checkpoint writes that down."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from msgspec.structs import asdict

from melissa_like.assembly import Assembler, DeliveredSamples
from melissa_like.buffer import BufferState, KeptSamples, SampleBuffer
from melissa_like.records import Ranges, SampleKey, Window
from melissa_like.server.receiver import Receiver
from melissa_like.training import Stateful, ValidationSet
from melissa_like.training.checkpoint import on_host
from melissa_like.training.validation import KeptHeldOut

__all__ = ["Cut", "Index", "take_cut"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What every rank of a restart must know of this one, small.

    Attributes:
        buffer: which samples it saves.
        delivered: which samples it has, those that it does not save because they were not trained on left out.
        samples: that it has trained on, each as often as it was drawn.
        received: bytes.
        duplicates: parts of samples that were complete already.
        refused: parts that were not taken, by reason.
        held_out_attempts: those that the time steps of its held-out samples are of, [samples, steps of one].
        window: what a sample is; None: one time step.
    """

    buffer: BufferState
    delivered: DeliveredSamples
    samples: int
    received: int
    duplicates: int
    refused: Mapping[str, int]
    held_out_attempts: npt.NDArray[np.int64]
    window: Window | None = None

    def as_dict(self) -> dict[str, Any]:
        """For `torch.save`."""
        delivered = self.delivered
        ranges = {name: [*getattr(delivered, name).ranges] for name in _RANGES}
        tables = {name: torch.from_numpy(getattr(delivered, name)) for name in _TABLES}
        return {
            "buffer": self.buffer.as_dict(),
            "delivered": {**{name: getattr(delivered, name) for name in _NUMBERS}, **ranges, **tables},
            "samples": self.samples,
            "received": self.received,
            "duplicates": self.duplicates,
            "refused": dict(self.refused),
            "held_out_attempts": torch.from_numpy(self.held_out_attempts),
            "window": None if self.window is None else asdict(self.window),
        }

    @classmethod
    def of_dict(cls, saved: Mapping[str, Any]) -> "Index":
        """What `as_dict` gave."""
        delivered = saved["delivered"]
        made: dict[str, Any] = {name: Ranges(map(tuple, delivered[name])) for name in _RANGES}
        made |= {name: delivered[name].numpy() for name in _TABLES}
        made |= {name: delivered[name] for name in _NUMBERS}
        return cls(
            buffer=BufferState.of_dict(saved["buffer"]),
            delivered=DeliveredSamples(**made),
            samples=saved["samples"],
            received=saved["received"],
            duplicates=saved["duplicates"],
            refused=saved["refused"],
            held_out_attempts=saved["held_out_attempts"].numpy(),
            window=None if saved["window"] is None else Window(**saved["window"]),
        )

    @staticmethod
    def merged(indexes: Sequence["Index"]) -> tuple[int, int, Counter[str]]:
        """Bytes received, duplicates and refusals of all ranks."""
        refused: Counter[str] = Counter()
        for index in indexes:
            refused.update(index.refused)
        return sum(index.received for index in indexes), sum(index.duplicates for index in indexes), refused


_NUMBERS = ("stride", "offset", "hop")
_RANGES = ("over", "settled", "lacking")
_TABLES = ("whole", "ahead", "whole_settled")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """All that the receiving thread changes, as it is between two samples.

    Attributes:
        index: small, and its own.
        samples: of the buffer; must be copied or let go.
        held_out: samples to validate on.
        consumers: the states of those that have one, by name.
    """

    index: Index
    samples: KeptSamples
    held_out: KeptHeldOut
    consumers: Mapping[str, Any]


def take_cut(
    undelivered: Collection[SampleKey],
    *,
    assembler: Assembler,
    receiver: Receiver,
    buffer: SampleBuffer,
    held_out: ValidationSet,
    consumers: Mapping[str, Stateful],
    window: Window | None,
    saves_buffer: bool,
    num_trained: int,
) -> Cut:
    """Take a cut; on the receiving thread, for some milliseconds.

    Args:
        undelivered: samples that are complete and not delivered.
        assembler: of this rank.
        receiver: of this rank.
        buffer: of this rank; draws that are not settled count as not made.
        held_out: of this rank.
        consumers: that have a state.
        window: what a sample is; None: one time step.
        saves_buffer: whether its samples will be saved; else those that were not trained on count as not delivered.
        num_trained: samples that this rank has trained on.
    """
    kept = buffer.keep()
    try:
        lacking: defaultdict[int, list[int]] = defaultdict(list)
        for key in undelivered:
            lacking[key.simulation].append(key.step)
        state = kept.state
        if not saves_buffer:
            for simulation, step in state.unseen_keys.tolist():
                lacking[simulation].append(step)
            state = state.without_samples()
            kept.let_go()
        kept_held_out = held_out.kept()
        index = Index(
            buffer=state,
            delivered=assembler.cut(lacking),
            samples=num_trained,
            received=receiver.num_bytes,
            duplicates=assembler.duplicates_dropped,
            refused=dict(receiver.refused),
            held_out_attempts=kept_held_out.attempts,
            window=window,
        )
        states = {name: on_host(consumer.state_dict()) for name, consumer in consumers.items()}
    except BaseException:
        kept.let_go()
        raise
    return Cut(index=index, samples=kept, held_out=kept_held_out, consumers=states)
