"""What a network must return: checked in the trial and at the first batch."""

from collections.abc import Mapping

from torch import Tensor

__all__ = ["check_outputs"]


def check_outputs(predictions: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> None:
    """Whether a network returned what it should have.

    Raises:
        TypeError: not a mapping, or no tensor for a target.
        ValueError: a tensor of another shape than its target.
    """
    if not isinstance(predictions, Mapping):
        raise TypeError(
            f"the network returned a {type(predictions).__name__}: return a mapping with a tensor for each of the "
            f"targets {', '.join(targets)}"
        )
    for name, target in targets.items():
        found = predictions.get(name)
        if not isinstance(found, Tensor):
            received = f"a {type(found).__name__}" if name in predictions else "nothing"
            raise TypeError(
                f"the network returned {received} for the target {name!r}, and something for "
                f"{', '.join(map(str, predictions))}: return a tensor of shape {tuple(target.shape)} under that name"
            )
        if found.shape != target.shape:
            raise ValueError(
                f"the network returned the shape {tuple(found.shape)} for the target {name!r}, expected "
                f"{tuple(target.shape)}: samples, components, then the grid"
            )
        if not found.dtype.is_floating_point:
            raise TypeError(
                f"the network returned {found.dtype} for the target {name!r}: return real numbers of a floating-point "
                "dtype"
            )
