"""What `melissa-like check` has seen of a solver, for people."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from melissa_like.config import Config, layout_of, num_processes
from melissa_like.protocol.reports import FieldFindings, Findings
from melissa_like.records import FieldSpec, Layout

__all__ = ["print_findings"]

_MOST_RANKS = 8


def print_findings(config: Config, findings: Findings, started_at: float) -> None:
    """Print a table of the fields, and what else is known of the simulation.

    Args:
        config: of the study that was checked.
        findings: of the server rank that looked at everything.
        started_at: UNIX time at which the study began.
    """
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120)
    num, what = (num_processes(config.solver), "process") if config.solver.reader else (config.solver.num_ranks, "rank")
    plural = "" if num == 1 else "es" if config.solver.reader else "s"
    table = Table(title=f"solver {config.solver.name}: one simulation on {num} {what}{plural}")
    for title in ("field", "shape", "dtype", "lowest", "highest", "not finite"):
        table.add_column(title)
    layout = layout_of(config.solver)
    sized = layout.sized(findings.extents) if findings.extents else layout
    for spec, found in zip(sized.fields, findings.fields, strict=True):
        table.add_row(*_row(spec, found), _not_finite(found, arrived=findings.steps is not None))
    for spec, found in zip(sized.static, findings.static, strict=False):
        table.add_row(*_row(spec, found), "none", style="dim")
    console.print(table)
    console.print(f"parameters: {_parameters(config, findings)}", highlight=False)
    for line in _mesh(layout, findings):
        console.print(line, highlight=False)
    console.print(f"time steps: {_steps(findings)}", highlight=False)
    first = "–" if findings.arrived_at is None else f"{findings.arrived_at - started_at:.2f} s"
    pace = "–" if findings.seconds_per_step is None else f"{1e3 * findings.seconds_per_step:.2f} ms"
    console.print(f"first step after {first}, then {pace} per step", highlight=False)


def _row(spec: FieldSpec, found: FieldFindings) -> tuple[str, ...]:
    shape = "×".join(spec.shown_shape.strip("(,)").split(", ") if 0 in spec.shape else map(str, spec.shape))
    return spec.name, shape, spec.dtype, _number(found.lowest), _number(found.highest)


def _mesh(layout: Layout, findings: Findings) -> list[str]:
    """The sizes that the simulation has said, and what it has sent once."""
    told = []
    if layout.extents:
        sizes = ", ".join(f"{name} = {size}" for name, size in findings.extents.items())
        told.append(f"extents of this simulation: {sizes or 'none arrived'}")
    if len(findings.points_by_rank) > 1:
        told.append(f"points per rank: {_points(findings.points_by_rank)}")
    if layout.static:
        names = ", ".join(spec.name for spec in layout.static)
        told.append(f"sent once: {names if findings.static else f'{names} did not arrive'}")
    for spec, found in zip(layout.static, findings.static, strict=False):
        if spec.indexes is not None and found.num_named is not None:
            size = findings.extents[spec.indexes] if isinstance(spec.indexes, str) else spec.indexes
            told.append(f"connectivity: {spec.name} names {found.num_named} of {size} points, and no other")
    return told


def _not_finite(found: FieldFindings, *, arrived: bool) -> str:
    if found.not_finite:
        return f"{found.not_finite}, first at step {found.first_bad_step}"
    return "none" if arrived else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.6g}"


def _parameters(config: Config, findings: Findings) -> str:
    if not findings.parameters:
        return "none arrived"
    pairs = zip(config.solver.parameters, findings.parameters, strict=True)
    return ", ".join(f"{name} = {value:.6g}" for name, value in pairs)


def _steps(findings: Findings) -> str:
    if findings.steps is None:
        return "none arrived"
    number, first, last = findings.steps
    times = findings.times
    span = "no physical time given" if times is None else f"physical time {times[0]:g} to {times[1]:g}"
    return f"{number}, numbered {first} to {last}, {span}"


def _points(by_rank: Sequence[int]) -> str:
    if len(by_rank) > _MOST_RANKS:
        return f"{min(by_rank)} to {max(by_rank)} on {len(by_rank)} ranks"
    return ", ".join(map(str, by_rank))
