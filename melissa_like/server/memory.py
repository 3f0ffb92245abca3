"""Whether a training fits into the memory of the host, before it is begun: a system that has none left kills it."""

import torch
from torch import nn

from melissa_like.config import Config, available_memory, capacity_nbytes_per_rank, layout_of, sample_nbytes, shown
from melissa_like.errors import ConfigurationError
from melissa_like.records import Window
from melissa_like.training import OptimizerFactory

__all__ = ["check_fits", "states_per_weight"]

#: Batches that the loader holds; and of a batch the prediction, the target, the loss and the gradient, in float32.
_LOADED_BATCHES, _FLOATS_PER_VALUE = 3, 4
#: More states than any known optimizer keeps of a weight: what fits with these need not be looked at closely.
_MOST_STATES = 4
#: Executors that start all server ranks on one machine. Of any other it is not known: a rank is counted by itself.
_ON_ONE_MACHINE = ("melissa_like.launcher.executors.LocalExecutor", "melissa_like.launcher.executors.InlineExecutor")


def check_fits(
    config: Config,
    network: nn.Module,
    optimizer: OptimizerFactory,
    batch_size: int,
    available: int | None = None,
    *,
    window: Window | None = None,
) -> None:
    """Refuse a training that needs more memory than is free, by what it needs at least on this machine.

    Args:
        config: of the study.
        network: to be trained, on the CPU, in memory already.
        optimizer: of its weights.
        batch_size: samples per training step.
        available: bytes of memory that are free; None: those of this machine now.
        window: what a sample is; None: one time step.

    Raises:
        ConfigurationError: with what is needed and what there is.
    """
    layout = layout_of(config.solver)
    available = available_memory() if available is None else available
    weights = sum(tensor.nbytes for tensor in network.parameters() if tensor.requires_grad)
    nbytes, num_steps = sample_nbytes(layout, window), 1 if window is None else window.length
    batches = batch_size * (_LOADED_BATCHES * nbytes + 4 * _FLOATS_PER_VALUE * num_steps * layout.sample_size)
    ranks = config.launcher.num_server_ranks if config.launcher.executor.get("_target_") in _ON_ONE_MACHINE else 1
    held = ranks * capacity_nbytes_per_rank(config, window) + config.launcher.max_jobs * nbytes
    others = (ranks - 1) * weights  # those of this rank are there already
    if ranks * (weights * (1 + _MOST_STATES) + batches) + others + held <= available:
        return
    trained = round(ranks * weights * (1 + states_per_weight(optimizer))) + others
    if trained + ranks * batches + held > available:
        together = f" for {ranks} server ranks on this machine" if ranks > 1 else ""
        raise ConfigurationError(
            f"the training needs at least {shown(trained + ranks * batches + held)} more memory{together}: "
            f"{shown(trained)} for {'copies, ' if ranks > 1 else ''}gradients and optimizers of weights of "
            f"{shown(weights)}, {shown(ranks * batches)} for batches of {batch_size} samples of "
            f"{shown(nbytes)}, {shown(held)} for the buffer; but {shown(available)} are free: "
            "lower training.batch_size or buffer.capacity, or take a smaller network (model) or a machine with more"
        )


def states_per_weight(optimizer: OptimizerFactory) -> float:
    """Numbers that an optimizer keeps of each weight: 2 of Adam, 0 of plain descent."""
    weights = nn.Parameter(torch.zeros(4, 4))
    made = optimizer([weights])
    weights.grad = torch.ones_like(weights)
    made.step()
    kept = [value for value in made.state.get(weights, {}).values() if isinstance(value, torch.Tensor)]
    return sum(value.nbytes for value in kept if value.numel() >= weights.numel()) / weights.nbytes
