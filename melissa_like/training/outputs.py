"""What a network must return: checked in the trial, at the first batch, and before a task goes on with it."""

from collections.abc import Mapping

from torch import Tensor

__all__ = ["OutputError", "check_outputs", "check_shapes"]


class OutputError(TypeError, ValueError):
    """A network returned something else than it must; whoever called it is not at fault."""


def check_outputs(predictions: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
    """Whether there is a tensor like each target.

    Raises:
        OutputError: not a mapping, no tensor for a target, or one of another shape.
    """
    check_shapes(predictions, {name: tuple(target.shape) for name, target in targets.items()})


def check_shapes(predictions: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Whether a network returned tensors of these shapes, which begin with the number of samples.

    Raises:
        OutputError: not a mapping, no tensor for a target, or one of another shape.
    """
    if not isinstance(predictions, Mapping):
        raise OutputError(
            f"the network returned a {type(predictions).__name__}: return a mapping with a tensor for each of the "
            f"targets {', '.join(shapes)}"
        )
    for name, shape in shapes.items():
        found = predictions.get(name)
        if not isinstance(found, Tensor):
            received = f"a {type(found).__name__}" if name in predictions else "nothing"
            raise OutputError(
                f"the network returned {received} for the target {name!r}, and something for "
                f"{', '.join(map(str, predictions))}: return a tensor of shape {shape} under that name"
            )
        if tuple(found.shape) != shape:
            raise OutputError(
                f"the network returned the shape {tuple(found.shape)} for the target {name!r}, expected {shape}: "
                "samples, components, then the grid"
            )
        if not found.dtype.is_floating_point:
            raise OutputError(
                f"the network returned {found.dtype} for the target {name!r}: return real numbers of a floating-point "
                "dtype"
            )
