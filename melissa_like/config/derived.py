"""What follows from the configuration: layout, routing, the share of one server rank."""

import math
import re

from melissa_like.config.schema import BufferConfig, Config, SolverConfig, TransportConfig
from melissa_like.errors import ConfigurationError
from melissa_like.records import FieldSpec, Layout, Routing

__all__ = ["capacity", "capacity_per_rank", "layout_of", "routing_of", "watermark_per_rank"]

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def layout_of(solver: SolverConfig) -> Layout:
    """The layout that the solver's declarations stand for.

    Raises:
        ConfigurationError: a field that cannot be stored.
    """
    try:
        return Layout(
            fields=tuple(
                FieldSpec(
                    name=name,
                    shape=_shape(name, spec.shape),
                    dtype=spec.dtype,
                    components=spec.components,
                    bounds=_bounds(name, spec.bounds),
                )
                for name, spec in solver.fields.items()
            ),
            parameters=tuple(solver.parameters),
        )
    except ValueError as error:
        raise ConfigurationError(f"solver.fields: {error}") from None


def _shape(name: str, given: list[int | None]) -> tuple[int, ...]:
    sizes = [size for size in given if size is not None]
    if len(sizes) < len(given):
        raise ValueError(
            f"field {name!r} has the shape {['null' if size is None else size for size in given]}: a size that differs "
            "between simulations is not supported yet; write the number of points"
        )
    return tuple(sizes)


def _bounds(name: str, given: list[float] | None) -> tuple[float, float] | None:
    if given is None:
        return None
    if len(given) != 2:
        raise ValueError(f"field {name!r} has the bounds {given}: write [lowest, highest], or null")
    return given[0], given[1]


def routing_of(transport: TransportConfig) -> Routing:
    """The routing by its name.

    Raises:
        ConfigurationError: no such routing.
    """
    try:
        return Routing[transport.routing.upper()]
    except KeyError:
        raise ConfigurationError(
            f"transport.routing is {transport.routing!r}: write one of {', '.join(r.name.lower() for r in Routing)}"
        ) from None


def capacity(buffer: BufferConfig, layout: Layout) -> int:
    """Samples of all server ranks together."""
    given = buffer.capacity
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    match = re.fullmatch(r"\s*([\d.]+)\s*([KMGT]i?)?B\s*", given) if isinstance(given, str) else None
    if match is None:
        raise ConfigurationError(
            f"buffer.capacity is {given!r}: write a number of samples (1000) or of bytes as text ('2 GiB')"
        )
    return int(float(match[1]) * _UNITS[match[2] or ""]) // layout.sample_nbytes


def capacity_per_rank(config: Config) -> int:
    """Samples that one server rank holds: the global capacity divided, rounded up."""
    return math.ceil(capacity(config.buffer, layout_of(config.solver)) / config.launcher.num_server_ranks)


def watermark_per_rank(config: Config) -> int:
    """The watermark of one server rank: the global one divided, rounded up."""
    if config.buffer.watermark is None:
        return capacity_per_rank(config) // 5
    return math.ceil(config.buffer.watermark / config.launcher.num_server_ranks)
