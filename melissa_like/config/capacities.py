"""What the buffers of a study hold at most: in samples, and in bytes where the sizes of samples differ."""

import math
from collections.abc import Iterable
from typing import Any

from melissa_like.config.layouts import layout_of
from melissa_like.config.memory import available_memory, shown
from melissa_like.config.quantities import bytes_in
from melissa_like.config.schema import BufferConfig, Config
from melissa_like.errors import ConfigurationError
from melissa_like.records import FieldSpec, Layout, Window

__all__ = [
    "capacity",
    "capacity_nbytes",
    "capacity_nbytes_per_rank",
    "capacity_per_rank",
    "default_capacity",
    "largest_mesh_nbytes",
    "sample_nbytes",
    "watermark_per_rank",
]

#: Of a buffer whose capacity is not given: samples at most, and the share of the memory as one over this.
_MOST_SAMPLES, _MEMORY_SHARE = 4000, 4
#: Rows of a buffer whose capacity is in bytes only, for the samples of one server rank: beyond, rows cost more to look
#: through than small samples are worth.
_MOST_ROWS = 2**18
#: A buffer whose samples differ rounds the bytes of a field, and of a sample, up to multiples of these.
_FIELD_UNIT, _SAMPLE_UNIT = 8, 256


def sample_nbytes(layout: Layout, window: Window | None) -> int:
    """Bytes of the fields of a sample; where each simulation says its sizes, of the smallest that there can be."""
    return _smallest(layout).sample_nbytes * _length(window)


def default_capacity(layout: Layout, available: int) -> str:
    """What a buffer holds where nothing is said, as `buffer.capacity` says it: 4000 samples in a quarter of the memory.

    Args:
        layout: of the study.
        available: bytes of memory.

    Raises:
        ConfigurationError: not one time step fits.
    """
    allowed, nbytes = available // _MEMORY_SHARE, sample_nbytes(layout, None)
    if allowed < nbytes:
        raise ConfigurationError(
            f"a sample takes {shown(nbytes)} and a quarter of the memory that is free here is "
            f"{shown(allowed)}, so the buffer would hold none: write buffer.capacity, send smaller fields, or take a "
            "machine with more memory"
        )
    return f"{_MOST_SAMPLES} within {allowed} B"


def capacity(buffer: BufferConfig, layout: Layout, window: Window | None = None) -> int:
    """Samples of all server ranks together, at most; without a number, as many as `default_capacity` says now.

    Args:
        buffer: as configured.
        layout: of the study.
        window: what a sample is; None: one time step, or nobody knows yet.

    Raises:
        ConfigurationError: no such capacity, or one in samples where they have no size of their own.
    """
    number, nbytes = _given(buffer, layout)
    if nbytes is None:
        assert number is not None, "a capacity is in samples or in bytes"
        return number
    if layout.is_ragged:
        fitting = max(0, nbytes - _room(_smallest(layout).static)) // _room(_smallest(layout).fields, window)
    else:
        fitting = nbytes // sample_nbytes(layout, window)
    return fitting if number is None else min(number, fitting)


def capacity_per_rank(config: Config, window: Window | None = None) -> int:
    """Samples that one server rank holds: the global capacity divided, rounded up; `window` as in `capacity`."""
    layout = layout_of(config.solver)
    each = math.ceil(capacity(config.buffer, layout, window) / config.launcher.num_server_ranks)
    number, _ = _given(config.buffer, layout)
    return min(each, _MOST_ROWS) if number is None and layout.is_ragged else each


def capacity_nbytes(config: Config, window: Window | None = None) -> int:
    """Bytes of all server ranks together, at most; `window` as in `capacity`."""
    layout = layout_of(config.solver)
    if layout.is_ragged:
        return capacity_nbytes_per_rank(config, window) * config.launcher.num_server_ranks
    return capacity(config.buffer, layout, window) * sample_nbytes(layout, window)


def capacity_nbytes_per_rank(config: Config, window: Window | None = None) -> int:
    """Bytes that one server rank holds, at most, static fields among them; `window` as in `capacity`.

    Where static fields alone make the difference, a capacity in samples has room for those of all its simulations.
    """
    layout = layout_of(config.solver)
    _, nbytes = _given(config.buffer, layout)
    if nbytes is not None and layout.is_ragged:
        return math.ceil(nbytes / config.launcher.num_server_ranks)
    num_held = capacity_per_rank(config, window)
    if not layout.is_ragged:
        return num_held * sample_nbytes(layout, window)
    num_simulations = min(num_held, config.study.num_simulations)
    return num_held * _room(layout.fields, window) + num_simulations * _room(layout.static)


def largest_mesh_nbytes(config: Config, window: Window | None = None) -> int:
    """Bytes that a sample and the static fields of its simulation may have together, so that a server rank holds them.

    That is its capacity without what rounding each of the three may cost; `window` as in `capacity`.
    """
    layout = layout_of(config.solver)
    rounding = 3 * _SAMPLE_UNIT + _FIELD_UNIT * len((*layout.fields, *layout.static))
    return max(0, capacity_nbytes_per_rank(config, window) - rounding)


def watermark_per_rank(config: Config, window: Window | None = None) -> int | None:
    """The watermark of one server rank in samples: the global one divided, rounded up; `window` as in `capacity`.

    None: it is a share of the bytes, because nobody says it in samples, and samples differ in size.
    """
    if config.buffer.watermark is not None:
        return math.ceil(config.buffer.watermark / config.launcher.num_server_ranks)
    return None if layout_of(config.solver).is_ragged else capacity_per_rank(config, window) // 5


def _given(buffer: BufferConfig, layout: Layout) -> tuple[int | None, int | None]:
    """Samples and bytes, as far as they are said."""
    given: Any = default_capacity(layout, available_memory()) if buffer.capacity is None else buffer.capacity
    if isinstance(given, int) and not isinstance(given, bool):
        if layout.extents:
            raise ConfigurationError(
                f"buffer.capacity is {given} samples, but each simulation says its own {', '.join(layout.extents)}, so "
                "nobody knows what these take: write bytes as text ('2 GiB'), or both ('1000 within 2 GiB')"
            )
        return given, None
    number, within, size = given.partition("within") if isinstance(given, str) else ("", "", "")
    nbytes = bytes_in(size if within else given)
    if nbytes is None or (within and not number.strip().isdecimal()):
        raise ConfigurationError(
            f"buffer.capacity is {given!r}: write a number of samples (1000), of bytes as text ('2 GiB'), both ('1000 "
            "within 2 GiB'), or null for as many as the memory allows"
        )
    return int(number) if within else None, nbytes


def _smallest(layout: Layout) -> Layout:
    """Of a simulation whose every size is 1."""
    return layout.sized(dict.fromkeys(layout.extents, 1)) if layout.extents else layout


def _room(specs: Iterable[FieldSpec], window: Window | None = None) -> int:
    """Bytes that fields take in a buffer whose samples differ."""
    nbytes = sum(_whole(spec.nbytes * _length(window), _FIELD_UNIT) for spec in specs)
    return _whole(nbytes, _SAMPLE_UNIT)


def _whole(nbytes: int, unit: int) -> int:
    return -(-nbytes // unit) * unit


def _length(window: Window | None) -> int:
    return 1 if window is None else window.length
