"""`fifo`, `firo`, `reservoir`: three settings of the same `SampleBuffer`.

A recipe of your own is a function with the same first arguments, named by its import path under `buffer._target_`. The
launcher looks at its signature to refuse a setting that it does not take; so nothing here imports torch until a buffer
is made.
"""

from typing import TYPE_CHECKING

from melissa_like.buffer.policies import (
    AlwaysOpen,
    FillTo,
    FillToShare,
    Gate,
    KeepAbove,
    KeepShare,
    Never,
    Oldest,
    Uniform,
    UniformSeen,
    ViewsPerSample,
)
from melissa_like.records import Layout

if TYPE_CHECKING:
    import torch

    from melissa_like.buffer.policies import Evictor, Selector
    from melissa_like.buffer.sample_buffer import SampleBuffer

__all__ = ["fifo", "firo", "reservoir"]

#: Of the capacity, where no watermark is given.
_SHARE = 0.2


def fifo(
    layout: Layout,
    capacity: int,
    *,
    seed: int = 0,
    spare_slots: int = 4,
    device: "str | torch.device" = "cpu",
    window_length: int | None = None,
    capacity_nbytes: int | None = None,
) -> "SampleBuffer":
    """A queue: each sample is drawn once, in the order of arrival. Batches are as correlated as the stream is.

    Args:
        layout: what a time step consists of.
        capacity: samples held at most.
        seed: of the choices; there are none.
        spare_slots: samples that can be assembled in place besides.
        device: where the samples lie: the host's memory (cpu), or that of the device that trains on them.
        window_length: time steps of a sample; None: one, without an axis for it.
        capacity_nbytes: bytes that samples and static fields take at most, where a simulation has sizes or static
            fields of its own; None: it has neither.

    Raises:
        ValueError: a number that cannot work.
    """
    _check(capacity, spare_slots)
    return _buffer(
        layout,
        capacity,
        spare_slots=spare_slots,
        device=device,
        window_length=window_length,
        capacity_nbytes=capacity_nbytes,
        selector=Oldest(),
        evictor=Never(),
        gate=AlwaysOpen(),
        draws_until_removed=1,
        seed=seed,
    )


def firo(
    layout: Layout,
    capacity: int,
    *,
    watermark: int | None = None,
    pseudo_epochs: int = 1,
    seed: int = 0,
    spare_slots: int = 4,
    device: "str | torch.device" = "cpu",
    window_length: int | None = None,
    capacity_nbytes: int | None = None,
) -> "SampleBuffer":
    """First in, random out: a shuffled queue that draws only what is above the watermark.

    Meyer et al., "High Throughput Training of Deep Surrogates from Large Ensemble Runs" (SC'23), section 3.

    Args:
        layout: what a time step consists of.
        capacity: samples held at most.
        watermark: samples that stay behind to be mixed with what comes; None: a fifth of the capacity, in bytes if
            that is.
        pseudo_epochs: draws after which a sample is removed.
        seed: of the choices.
        spare_slots: samples that can be assembled in place besides.
        device: where the samples lie: the host's memory (cpu), or that of the device that trains on them.
        window_length: time steps of a sample; None: one, without an axis for it.
        capacity_nbytes: bytes that samples and static fields take at most, where a simulation has sizes or static
            fields of its own; None: it has neither.

    Raises:
        ValueError: a number that cannot work.
    """
    by_share = watermark is None and capacity_nbytes is not None
    watermark = capacity // 5 if watermark is None else watermark
    _check(capacity, spare_slots)
    if not 0 <= watermark < capacity:
        raise ValueError(
            f"the watermark is {watermark} and the capacity {capacity}: a firo draws what is above the watermark, so "
            "give a watermark below the capacity"
        )
    if pseudo_epochs < 1:
        raise ValueError(f"pseudo_epochs is {pseudo_epochs}: give at least 1 draw per sample")
    return _buffer(
        layout,
        capacity,
        spare_slots=spare_slots,
        device=device,
        window_length=window_length,
        capacity_nbytes=capacity_nbytes,
        selector=Uniform(),
        evictor=Never(),
        gate=KeepShare(_SHARE) if by_share else KeepAbove(watermark),
        draws_until_removed=pseudo_epochs,
        seed=seed,
    )


def reservoir(
    layout: Layout,
    capacity: int,
    *,
    watermark: int | None = None,
    views_per_sample: int | None = None,
    seed: int = 0,
    spare_slots: int = 4,
    device: "str | torch.device" = "cpu",
    window_length: int | None = None,
    capacity_nbytes: int | None = None,
) -> "SampleBuffer":
    """Draws at any time from all it holds, and evicts only what was trained on.

    Meyer et al., "High Throughput Training of Deep Surrogates from Large Ensemble Runs" (SC'23), algorithm 1; the gain
    over a queue is that the trainer never waits for a wave of simulations.

    Args:
        layout: what a time step consists of.
        capacity: samples held at most. Good value: a few tens of simulations.
        watermark: samples before the first draw; None: a fifth of the capacity, in bytes if that is.
        views_per_sample: draws per sample put, see `ViewsPerSample`; None: as fast as the trainer is.
        seed: of the choices.
        spare_slots: samples that can be assembled in place besides.
        device: where the samples lie: the host's memory (cpu), or that of the device that trains on them.
        window_length: time steps of a sample; None: one, without an axis for it.
        capacity_nbytes: bytes that samples and static fields take at most, where a simulation has sizes or static
            fields of its own; None: it has neither.

    Raises:
        ValueError: a number that cannot work.
    """
    by_share = watermark is None and capacity_nbytes is not None
    watermark = capacity // 5 if watermark is None else watermark
    _check(capacity, spare_slots)
    if not 0 <= watermark <= capacity:
        raise ValueError(
            f"the watermark is {watermark} and the capacity {capacity}, so training would never start: lower the "
            "watermark or raise the capacity"
        )
    if views_per_sample is not None and views_per_sample < 1:
        raise ValueError(f"views_per_sample is {views_per_sample}: give at least 1 draw per sample")
    gate: Gate = FillToShare(_SHARE) if by_share else FillTo(watermark)
    if views_per_sample is None:
        return _buffer(
            layout,
            capacity,
            spare_slots=spare_slots,
            device=device,
            window_length=window_length,
            capacity_nbytes=capacity_nbytes,
            selector=Uniform(),
            evictor=UniformSeen(),
            gate=gate,
            draws_until_removed=None,
            seed=seed,
        )
    limiter = ViewsPerSample(views_per_sample, gate)
    return _buffer(
        layout,
        capacity,
        spare_slots=spare_slots,
        device=device,
        window_length=window_length,
        capacity_nbytes=capacity_nbytes,
        selector=limiter,
        evictor=UniformSeen(),
        gate=limiter,
        draws_until_removed=None,
        drain_removes=False,
        seed=seed,
    )


def _buffer(
    layout: Layout,
    capacity: int,
    *,
    spare_slots: int,
    device: "str | torch.device",
    window_length: int | None,
    capacity_nbytes: int | None,
    selector: "Selector",
    evictor: "Evictor",
    gate: Gate,
    draws_until_removed: int | None,
    seed: int,
    drain_removes: bool = True,
) -> "SampleBuffer":
    """A buffer over a storage where it is wanted."""
    import torch

    from melissa_like.buffer.ragged_storage import RaggedStorage
    from melissa_like.buffer.sample_buffer import SampleBuffer
    from melissa_like.buffer.storage import DeviceStorage, HostStorage, Storage

    device, num_slots = torch.device(device), capacity + spare_slots
    if layout.is_ragged is (capacity_nbytes is None):
        raise ValueError(
            f"capacity_nbytes is {capacity_nbytes} but simulations have {'' if layout.is_ragged else 'no '}sizes or "
            f"static fields of their own: give {'a number of bytes' if layout.is_ragged else 'none'}"
        )
    if capacity_nbytes is not None:
        storage: Storage = RaggedStorage(layout, capacity, capacity_nbytes, device=device, window_length=window_length)
    elif device.type == "cpu":
        storage = HostStorage(layout, num_slots, window_length=window_length)
    else:
        storage = DeviceStorage(layout, num_slots, device=device, window_length=window_length)
    return SampleBuffer(
        storage,
        capacity=capacity,
        selector=selector,
        evictor=evictor,
        gate=gate,
        draws_until_removed=draws_until_removed,
        drain_removes=drain_removes,
        seed=seed,
    )


def _check(capacity: int, spare_slots: int) -> None:
    if capacity < 1 or spare_slots < 0:
        raise ValueError(f"capacity is {capacity} and spare_slots {spare_slots}: give at least 1 and 0")
