"""The pictures of a finished training."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch

from melissa_like.config import Config, capacity_per_rank, watermark_per_rank
from melissa_like.monitoring import Recorder
from melissa_like.monitoring.figures import draw_field, draw_losses, draw_population
from melissa_like.monitoring.rollout_figures import draw_rollout, draw_rollout_errors
from melissa_like.plugins import accepted_settings, factory_of
from melissa_like.protocol.reports import ValidationFigures
from melissa_like.server.build_training import window_of
from melissa_like.training import HeldOutSimulation, RollsOut, Surrogate, ValidationSet, evaluating

__all__ = ["draw_figures"]


def draw_figures(
    config: Config,
    run_dir: Path,
    surrogate: Surrogate,
    held_out: ValidationSet,
    recorder: Recorder,
    validations: Sequence[ValidationFigures],
) -> None:
    """Losses, the population of the buffer, and a held-out simulation beside its prediction, into `figures`.

    A surrogate that rolls out is shown over time, with its errors at each step; another at the step in the middle.

    Raises:
        Exception: whatever keeps a picture from being drawn or written.
    """
    accepted = accepted_settings(factory_of({"_target_": config.buffer._target_}, "buffer"))
    has_watermark = accepted is None or "watermark" in accepted
    window, folder = window_of(config), run_dir / "figures"
    folder.mkdir(exist_ok=True)
    draw_losses(folder / "losses.png", recorder.rows, msgspec.to_builtins([*validations]))
    draw_population(
        folder / "population.png",
        recorder.rows,
        capacity_per_rank(config, window),
        watermark_per_rank(config, window) if has_watermark else None,
    )
    rollout = validations[-1].rollout if validations else None
    if rollout is not None and rollout.by_step:
        draw_rollout_errors(folder / "rollout.png", msgspec.to_builtins([*rollout.by_step]))
    one = held_out.one_simulation()
    if one is not None and isinstance(surrogate.task, RollsOut):
        _draw_rollout(folder, surrogate, surrogate.task, one)
    elif one is not None and surrogate.task.window is None:
        _draw_fields(folder, surrogate, one)


def _draw_rollout(folder: Path, surrogate: Surrogate, task: RollsOut, held_out: HeldOutSimulation) -> None:
    """Each target field over time."""
    num_steps = min(len(held_out.steps) - task.history, task.longest or len(held_out.steps))
    if num_steps < 1:
        return
    batch, known = held_out.whole().to(surrogate.device), slice(task.history, task.history + num_steps)
    with evaluating(surrogate):
        pieces = [*task.roll_out(surrogate.network, surrogate.normalization, batch, num_steps)]
    layout, steps = surrogate.layout, held_out.steps[known]
    title = f"held-out simulation {held_out.simulation}, rolled out from time step {held_out.steps[task.history - 1]}"
    for name in pieces[0]:
        predicted = torch.cat([piece[name] for piece in pieces], dim=1)[0].cpu().numpy()
        draw_rollout(
            folder / f"{name}.png",
            name,
            title,
            predicted,
            held_out.fields[name][known],
            steps=steps,
            components=layout.fields[layout.field_id(name)].components,
        )


def _draw_fields(folder: Path, surrogate: Surrogate, held_out: HeldOutSimulation) -> None:
    """Each target field of the step in the middle."""
    middle = len(held_out.steps) // 2
    batch = held_out.batch(middle).to(surrogate.device)
    with evaluating(surrogate):
        predicted = {name: values[0].cpu().numpy() for name, values in surrogate(batch).items()}
    title = f"held-out simulation {held_out.simulation}, time step {held_out.steps[middle]}"
    for name, values in predicted.items():
        draw_field(folder / f"{name}.png", name, title, values, held_out.fields[name][middle])
