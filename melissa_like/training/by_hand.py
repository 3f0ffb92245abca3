"""Training steps one stage at a time, so that what fails can be named."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from melissa_like.errors import ConfigurationError
from melissa_like.training.losses import FieldLosses
from melissa_like.training.objective import Objective
from melissa_like.training.outputs import check_outputs
from melissa_like.training.probe import Probe
from melissa_like.training.schedules import LearningRate
from melissa_like.training.stream import TrainingRecipe
from melissa_like.training.surrogate import Surrogate
from melissa_like.training.suspects import LOSS, MODEL, OPTIMIZER, TASK, Suspects

__all__ = ["train_by_hand"]

_PROGRESS = (0.0, 0.5, 1.0)


def train_by_hand(
    surrogate: Surrogate,
    recipe: TrainingRecipe,
    probe: Probe,
    sizes: tuple[int, ...],
    *,
    num_ranks: int,
    suspects: Suspects,
) -> None:
    """Take a training step with a batch of each size, as our loop does.

    Args:
        surrogate: normalized; is in training mode afterwards.
        recipe: how to train.
        probe: makes the batches.
        sizes: of them.
        num_ranks: that will train together: with several, each weight must have a gradient.
        suspects: who is to be named.

    Raises:
        ConfigurationError: the first stage that fails.
    """
    network = surrogate.network
    with suspects.blame("training.field_weights", "is matched with the targets"):
        losses = FieldLosses(recipe.loss, surrogate.task.problem, recipe.field_weights)
    objective = Objective(surrogate, losses, precision=recipe.optimization.precision)
    with suspects.blame(OPTIMIZER, "is made for the weights of the network"):
        optimizer = recipe.optimizer([*network.parameters()])
        _check_optimizer(optimizer)
    with suspects.blame(suspects.rate, "is made for the optimizer"):
        learning_rate = recipe.learning_rate(optimizer)
    surrogate.train()
    # Calls are unrolled farthest at the end of a study: that must fit into the memory too.
    tries = [(size, 0.0) for size in sizes] + ([(sizes[0], 1.0)] if surrogate.task.window is not None else [])
    for number, (size, progress) in enumerate(tries):
        _set_rate(learning_rate, optimizer, number, suspects)
        optimizer.zero_grad(set_to_none=True)
        _differentiate(surrogate, objective, losses, probe, size, suspects, progress=progress, is_new=number == 0)
        if isinstance(recipe.loss, nn.Module):
            _refuse_weights_of(recipe.loss, suspects)
        if num_ranks > 1:
            _check_gradients(network, suspects)
        if recipe.optimization.gradient_clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), recipe.optimization.gradient_clip)
        with suspects.blame(OPTIMIZER, "steps"):
            optimizer.step()
            _check_stepped(network, optimizer)
        with suspects.blame(suspects.rate, "follows a training step"):
            learning_rate.after_step()


def _check_optimizer(optimizer: object) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"it made a {type(optimizer).__name__}: name a torch.optim.Optimizer")


def _set_rate(learning_rate: LearningRate, optimizer: Optimizer, batches: int, suspects: Suspects) -> None:
    with suspects.blame(suspects.rate, "is asked for the learning rate"):
        for progress in reversed(_PROGRESS):
            learning_rate.before_step(progress, batches)
            rates = [float(group["lr"]) for group in optimizer.param_groups]
            if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
                raise ValueError(f"it set the learning rate {rates} at the progress {progress:g}: 0 or more is needed")


def _differentiate(
    surrogate: Surrogate,
    objective: Objective,
    losses: FieldLosses,
    probe: Probe,
    size: int,
    suspects: Suspects,
    *,
    progress: float,
    is_new: bool,
) -> None:
    network, batch, what = surrogate.network, probe.batch(size), f"{size} samples" if size > 1 else "a single sample"
    with suspects.blame(MODEL, f"is trained on {what}", network, outside=TASK):
        predictions, targets = objective.compared(batch, progress)
    with suspects.blame(MODEL, f"is trained on {what}"):
        check_outputs(predictions, targets)
        _check_predictions(predictions, targets, is_new=is_new)
        if not any(values.requires_grad for values in predictions.values()):
            raise ValueError("what it returns does not depend on its weights: leave out detach, numpy and no_grad")
    with suspects.blame(LOSS, f"is given {what}"):
        each = losses(predictions, targets, batch.offsets)
        _check_losses(each, targets)
    with suspects.blame(MODEL, f"is differentiated with {what}", network):
        torch.autograd.backward(each.sum())
        bad = [name for name, weights in network.named_parameters() if not _finite(weights.grad)]
        if bad:
            raise ValueError(
                f"the gradients of {', '.join(bad[:6])} are not finite though the loss is: look for roots, norms and "
                f"quotients of what may be 0, in the network and in {suspects.of(LOSS)}"
            )


def _check_predictions(predictions: Mapping[str, Tensor], targets: Mapping[str, Tensor], *, is_new: bool) -> None:
    bad = [name for name, values in predictions.items() if name in targets and not values.isfinite().all()]
    if bad and all(values.isfinite().all() for values in targets.values()):
        where = "look for logarithms, roots and quotients of what may be 0 or below"
        raise ValueError(
            f"it returned values that are not finite for {', '.join(map(repr, bad))} "
            + (
                f"before any training: {where}"
                if is_new
                else f"after one step: lower training.optimizer.lr, or {where}"
            )
        )


def _finite(values: Tensor | None) -> bool:
    if values is None:
        return True
    return bool((values.coalesce().values() if values.is_sparse else values).isfinite().all())


def _check_stepped(network: nn.Module, optimizer: Optimizer) -> None:
    """The gradients were finite, so what is not finite now comes from the optimizer."""
    bad = [name for name, weights in network.named_parameters() if weights.grad is not None and not _finite(weights)]
    if bad:
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        held = {weights.dtype for weights in network.parameters() if weights.dtype == torch.float16}
        raise ValueError(
            f"it made weights that are not finite ({', '.join(bad[:6])}) of finite gradients, with the learning rate "
            f"{rates}: lower training.optimizer.lr"
            + (", and keep the weights in float32 (float16 ends at 65504)" if held else "")
        )


def _refuse_weights_of(loss: nn.Module, suspects: Suspects) -> None:
    """A loss may use a network that is frozen; weights that it should learn would stay as they are."""
    idle = [name for name, weights in loss.named_parameters() if weights.grad is not None]
    if idle:
        raise ConfigurationError(
            f"{suspects.of(LOSS)} has weights ({', '.join(idle[:6])}), which nobody would train: the optimizer gets "
            "those of the network alone; freeze them with requires_grad_(False), or make them part of the network"
        )


def _check_losses(each: Tensor, targets: Mapping[str, Tensor]) -> None:
    if each.is_complex():
        raise TypeError(f"it returned {each.dtype}: return real numbers, as the absolute values of complex ones")
    if not each.requires_grad:
        raise ValueError(
            "what it returns does not depend on the prediction in a way that can be differentiated: compute it with "
            "tensors of torch, without detach, item or numpy"
        )
    if all(values.isfinite().all() for values in targets.values()) and not each.isfinite().all():
        raise ValueError(
            f"it returned {each.detach().tolist()[:4]} for finite targets and an untrained network: a loss must be "
            "finite, so keep from dividing by zero and from deviations of a single sample"
        )


def _check_gradients(network: nn.Module, suspects: Suspects) -> None:
    idle = [name for name, weights in network.named_parameters() if weights.requires_grad and weights.grad is None]
    if idle:
        layers = ", ".join(dict.fromkeys(name.rpartition(".")[0] or name for name in idle))
        raise ConfigurationError(
            f"{suspects.of(MODEL)} has weights that take no part in the loss ({', '.join(idle[:6])}), which several "
            f"server ranks cannot join: use the layers {layers} in forward, leave them out, or freeze them with "
            "requires_grad_(False)"
        )
