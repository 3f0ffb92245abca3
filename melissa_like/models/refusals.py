"""What a family of networks cannot serve, in the words that all of them share."""

from collections.abc import Sequence

from melissa_like.models.problem import Problem

__all__ = ["leaving_out", "require_fixed_sizes", "require_no_static"]


def require_fixed_sizes(problem: Problem, family: str) -> None:
    """Refuse fields whose number of points differs between simulations.

    Raises:
        ValueError: there are some.
    """
    shapes = {**problem.fields, **problem.targets}
    found = {name: shape.extent for name, shape in shapes.items() if shape.extent is not None}
    if found:
        told = ", ".join(f"{name} ({extent})" for name, extent in found.items())
        raise ValueError(
            f"{family} needs fields of a fixed size, and the number of points differs between simulations in {told}: "
            "take melissa_like.models.MeshMessagePassing (model=mesh_message_passing)"
        )


def leaving_out(problem: Problem, names: Sequence[str]) -> str:
    """How some static data are left out, on the command line."""
    others = ",".join(name for name in problem.static if name not in names)
    return f"leave them out (+training.task.static={f'[{others}]' if others else 'false'})"


def require_no_static(problem: Problem, family: str) -> None:
    """Refuse static data, for a network that has no place for them.

    Raises:
        ValueError: there are some.
    """
    if problem.static:
        raise ValueError(
            f"{family} has no place for static data and is given {', '.join(problem.static)}: "
            f"{leaving_out(problem, [*problem.static])}, or take FNO or UNet, which see those on their grid"
        )
