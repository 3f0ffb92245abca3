"""From a layout, a task and a model to an untrained surrogate."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from melissa_like.plugins import recipe_of
from melissa_like.records import Layout
from melissa_like.training.normalization import Normalization
from melissa_like.training.surrogate import Surrogate
from melissa_like.training.tasks import Direct, TaskFactory

__all__ = ["build_surrogate"]


def build_surrogate(
    *,
    layout: Layout,
    model: Callable[..., nn.Module],
    task: TaskFactory = Direct,
    parameter_bounds: Mapping[str, tuple[float, float]] | None = None,
    num_steps: int | None = None,
) -> Surrogate:
    """An untrained surrogate, on the CPU.

    Args:
        layout: fields and parameters of the study.
        model: called with the task's problem; must be importable, so that it can be built again.
        task: called with `layout`; must be importable too.
        parameter_bounds: (low, high) of each parameter, from its distribution; None: they will be loaded.
        num_steps: time steps per simulation; None: their numbers are not known before the first turn.

    Raises:
        TypeError: the model or the task cannot be imported under a name, or the model is no module.
        ValueError: a parameter has no finite bounds, a layer of the network is lazily initialised, or what the model or
            the task raises.
    """
    recipes: dict[str, dict[str, Any]] = {"model": recipe_of(model), "task": recipe_of(task)}
    made = task(layout=layout)
    network = model(made.problem)
    if not isinstance(network, nn.Module):
        raise TypeError(f"the model {model} returned a {type(network).__name__}: return a torch.nn.Module")
    lazy = [name for name, tensor in _tensors_of(network) if is_lazy(tensor)]
    if lazy:
        raise ValueError(
            f"{', '.join(lazy)} have no shape before the first call (lazily initialised layers), so that they could "
            "neither be given to an optimizer nor loaded again: read the sizes from the problem, as "
            "problem.num_inputs, or call the network once at the end of its __init__"
        )
    normalization = Normalization(made.quantities, layout)
    if parameter_bounds is not None:
        missing = [name for name in layout.parameters if name not in parameter_bounds]
        if missing:
            raise ValueError(f"the parameters {', '.join(missing)} have no bounds: give a (low, high) for each")
        normalization.set_inputs([parameter_bounds[name] for name in layout.parameters], num_steps)
    return Surrogate(made, network, normalization, layout=layout, recipes=recipes)


def _tensors_of(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights and buffers by name."""
    return chain(network.named_parameters(), network.named_buffers())
