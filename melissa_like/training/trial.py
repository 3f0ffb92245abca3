"""The trial: everything that a training is made of, once, with samples that nobody sent, before anything depends on it.

A network is trained for a step at the real batch size and for one with a single sample, each stage on its own so that
what fails is named. Then the configured loop is called with a stream of two such turns. What it has trained is
validated, saved, loaded and asked to predict. All of it happens to a surrogate of its own, and the random states are
afterwards as they were; whoever trains then builds the real one from the same seed.
"""

import io
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_model
from torch import Tensor, nn

from melissa_like.errors import ConfigurationError, TrainingDivergedError
from melissa_like.training.by_hand import train_by_hand
from melissa_like.training.checkpoint import on_host
from melissa_like.training.contracts import (
    alike,
    check_evaluation,
    check_independence,
    check_prediction,
    check_task,
    check_weights,
)
from melissa_like.training.distributed import RankGroup, alone
from melissa_like.training.loop import Loop, run_loop, train
from melissa_like.training.modes import evaluating
from melissa_like.training.probe import Probe
from melissa_like.training.saving import load_surrogate, save_surrogate
from melissa_like.training.single_values import let_single_values_pass
from melissa_like.training.stream import TrainingRecipe, TrainingStream
from melissa_like.training.surrogate import Surrogate
from melissa_like.training.suspects import LOOP, MODEL, TASK, Suspects

__all__ = ["try_out"]

_SEED = 0
_SAVED = (
    "What is saved is its state_dict: plain tensors with memory of their own, so take .clone() of a view and "
    ".contiguous() of what is transposed, to_dense() of what is sparse, complex64 for complex128, and no extra state."
)
_LOADED = (
    "It is built again before its state_dict is loaded, so weights and buffers have the names and sizes that they get "
    "in __init__; what changes them afterwards is not a buffer but a plain attribute."
)


def try_out(
    build: Callable[[], Surrogate],
    recipe: TrainingRecipe,
    loop: Loop,
    *,
    probe: Probe,
    sizes: tuple[int, ...],
    num_ranks: int,
    suspects: Suspects,
    folder: Path,
) -> None:
    """Try a training.

    Args:
        build: an untrained surrogate on the probe's device, the same at every call.
        recipe: how to train.
        loop: what trains.
        probe: makes the samples.
        sizes: of the batches, in this order.
        num_ranks: that will train together; with several the network is wrapped as it will be.
        suspects: who is to be named.
        folder: in which the surrogate is saved for a moment.

    Raises:
        ConfigurationError: something does not work; it names the key, what was received and what is expected.
    """
    with _untouched(probe.device, compiles=recipe.optimization.compile):
        surrogate = build()
        probe = replace(probe, window=surrogate.task.window)
        check_weights(surrogate.network, suspects)
        with suspects.blame(TASK, "is asked for the quantities of a batch"):
            surrogate.normalization.freeze(probe.statistics(surrogate), probe.time_range)
        check_task(surrogate, probe.batch(2), suspects)
        if max(sizes) > 1:
            let_single_values_pass(surrogate.network)
        if loop is train:
            train_by_hand(surrogate, recipe, probe, sizes, num_ranks=num_ranks, suspects=suspects)
        for size in (2, 1):
            check_evaluation(surrogate, probe.batch(size), suspects)
        check_independence(surrogate, probe.batch(2), suspects)
        trained = _run(loop, surrogate, recipe, probe, sizes, num_ranks, suspects)
        with TemporaryDirectory(dir=folder, prefix=".trial-") as place:
            _keep(trained, probe, Path(place), suspects)


@contextmanager
def _untouched(device: torch.device, *, compiles: bool) -> Iterator[None]:
    """Leave every random state as it was, and nothing that torch has compiled."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        if compiles:
            torch.compiler.reset()


def _run(
    loop: Loop,
    surrogate: Surrogate,
    recipe: TrainingRecipe,
    probe: Probe,
    sizes: tuple[int, ...],
    num_ranks: int,
    suspects: Suspects,
) -> nn.Module:
    """What the loop makes of made-up turns; nobody hears of it."""
    with alone() if num_ranks > 1 else nullcontext(RankGroup.of_one()) as group:
        stream = TrainingStream(
            probe.turns(sizes, ends_empty=num_ranks > 1),
            surrogate=surrogate,
            held_out=probe.held_out(),
            group=group,
            recipe=recipe,
            is_trial=True,
        )
        with suspects.blame(*_tried(loop, recipe, sizes, num_ranks), surrogate.network):
            try:
                trained = run_loop(loop, stream)
            except TrainingDivergedError as error:
                raise ValueError(str(error)) from error
            if not stream.batches:
                raise ValueError("it took none of the turns, so it would train nothing: iterate over stream.turns")
            for name, state in stream.state_dict()["kept"].items():
                _save_for_a_restart(name, state)
    return trained


def _tried(loop: Loop, recipe: TrainingRecipe, sizes: tuple[int, ...], num_ranks: int) -> tuple[str, str]:
    """Who is at fault in the loop, and what goes on there. In ours it is what each stage by itself did not show."""
    if loop is not train:
        return LOOP, f"is run with {len(sizes)} made-up turns"
    wrapped = f", joined for {num_ranks} server ranks" if num_ranks > 1 else ""
    compiled = ", compiled (training.compile)" if recipe.optimization.compile else ""
    return MODEL, f"is trained in {len(sizes)} made-up turns{compiled}{wrapped}"


def _save_for_a_restart(name: str, state: object) -> None:
    """As a checkpoint saves it, in memory; what cannot be read again would be found out when it is needed."""
    stream = io.BytesIO()
    try:
        torch.save(on_host(state), stream)
        stream.seek(0)
        torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"what it keeps as {name!r} cannot be saved and loaded again for a restart ({error}): let its state_dict "
            "give numbers, texts, tensors, and lists and dictionaries of these"
        ) from error


def _keep(trained: nn.Module, probe: Probe, folder: Path, suspects: Suspects) -> None:
    """Save what was trained, as will be done at the end; a surrogate must then be loaded and predict the same."""
    who = MODEL if isinstance(trained, Surrogate) else LOOP
    try:
        with suspects.blame(who, "is saved after the training", remedy=_SAVED):
            if not isinstance(trained, Surrogate):
                save_model(trained, str(folder / "model.safetensors"))
                return
            save_surrogate(trained, folder / "surrogate")
    except ConfigurationError as error:
        if isinstance(error.__cause__, OSError | SafetensorError):  # the place is at fault, not the network
            raise ConfigurationError(
                f"what was trained cannot be saved in {folder.parent} ({error.__cause__}): make room, or choose "
                "another run_dir"
            ) from error
        raise
    with suspects.blame(MODEL, "is loaded again", remedy=_LOADED):
        loaded = load_surrogate(folder / "surrogate").to(probe.device)
    check_prediction(trained, probe, suspects)
    mine, theirs = (_evaluated(surrogate, probe) for surrogate in (trained, loaded))
    different = [name for name, values in mine.items() if not alike(theirs[name], values)]
    if different:
        raise ConfigurationError(
            f"{suspects.of(MODEL)} predicts something else for {', '.join(different)} after it was saved and loaded "
            "again: register what it needs besides its layers, such as random numbers that it drew in __init__, with "
            "self.register_buffer"
        )


def _evaluated(surrogate: Surrogate, probe: Probe) -> Mapping[str, Tensor]:
    torch.manual_seed(_SEED)  # a network may be random when it predicts
    with evaluating(surrogate):
        made: Mapping[str, Tensor] = surrogate(probe.batch(2))
    return made
