"""The pictures of a finished training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch

from melissa_like.config import Config, capacity_per_rank, layout_of, watermark_per_rank
from melissa_like.loading import field_of_sample
from melissa_like.monitoring import Recorder
from melissa_like.monitoring.comparison import FEW
from melissa_like.monitoring.figures import draw_field, draw_losses, draw_population
from melissa_like.monitoring.mesh_figures import Mesh, draw_mesh_field
from melissa_like.monitoring.number_figures import draw_numbers
from melissa_like.monitoring.rollout_figures import draw_rollout, draw_rollout_errors
from melissa_like.plugins import accepted_settings, factory_of
from melissa_like.protocol.reports import ValidationFigures
from melissa_like.records import FieldSpec, Layout
from melissa_like.server.build_training import window_of
from melissa_like.server.meshes import mesh_of
from melissa_like.training import HeldOutSimulation, RollsOut, Surrogate, ValidationSet, evaluating

__all__ = ["draw_figures"]

_COORDINATES = "coordinates"
#: Samples that are shown as numbers, at most.
_MOST_NUMBERS = 500


def draw_figures(
    config: Config,
    run_dir: Path,
    surrogate: Surrogate,
    held_out: ValidationSet,
    recorder: Recorder,
    validations: Sequence[ValidationFigures],
) -> None:
    """Losses, the population of the buffer, and a held-out simulation beside its prediction, into `figures`.

    A surrogate that rolls out is shown over time, with its errors at each step; another at the step in the middle. A
    field of a few numbers is shown over all held-out samples, one on a mesh where its points are: those are what
    `model.coordinates` names, else the static field `coordinates`.

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
        None if layout_of(config.solver).is_ragged else capacity_per_rank(config, window),
        watermark_per_rank(config, window) if has_watermark else None,
    )
    rollout = validations[-1].rollout if validations else None
    if rollout is not None and len(rollout.by_step) > 1:
        draw_rollout_errors(folder / "rollout.png", msgspec.to_builtins([*rollout.by_step]))
    one = held_out.one_simulation()
    if one is None:
        return
    meshes = _meshes_of(surrogate.layout, one, config.model.get("coordinates", _COORDINATES))
    if isinstance(surrogate.task, RollsOut):
        _draw_rollout(folder, surrogate, surrogate.task, one, meshes)
    elif surrogate.task.window is None:
        _draw_fields(folder, surrogate, one, meshes)
        _draw_numbers(folder, surrogate, held_out)


def _meshes_of(layout: Layout, one: HeldOutSimulation, coordinates: str) -> dict[str, Mesh]:
    """Of each field that lies on a mesh."""
    found = {spec.name: mesh_of(layout, spec, one.static, coordinates) for spec in layout.fields}
    return {name: mesh for name, mesh in found.items() if mesh is not None}


def _draw_rollout(
    folder: Path, surrogate: Surrogate, task: RollsOut, held_out: HeldOutSimulation, meshes: Mapping[str, Mesh]
) -> None:
    """Each target field over time."""
    num_steps = min(len(held_out.steps) - task.history, task.longest or len(held_out.steps))
    if num_steps < 1:
        return
    batch, known = held_out.whole().to(surrogate.device), slice(task.history, task.history + num_steps)
    with evaluating(surrogate):
        pieces = [*task.roll_out(surrogate.network, surrogate.normalization, batch, num_steps)]
    layout, steps, fields = surrogate.layout, held_out.steps[known], held_out.fields
    title = f"held-out simulation {held_out.simulation}, rolled out from time step {held_out.steps[task.history - 1]}"
    for name in pieces[0]:
        spec = layout.fields[layout.field_id(name)]
        draw_rollout(
            folder / f"{name}.png",
            name,
            title,
            field_of_sample(torch.cat([piece[name] for piece in pieces], dim=1).cpu().numpy(), spec),
            fields[name][known],
            steps=steps,
            components=spec.components,
            mesh=meshes.get(name),
        )


def _draw_fields(folder: Path, surrogate: Surrogate, held_out: HeldOutSimulation, meshes: Mapping[str, Mesh]) -> None:
    """Each target field of the step in the middle, but for those that are a few numbers."""
    middle, fields = len(held_out.steps) // 2, held_out.fields
    with evaluating(surrogate):
        predicted = surrogate(held_out.batch(middle).to(surrogate.device))
    title = f"held-out simulation {held_out.simulation}"
    if len(held_out.steps) > 1:
        title += f", time step {held_out.steps[middle]}"
    for name, values in predicted.items():
        path, spec = folder / f"{name}.png", surrogate.layout.fields[surrogate.layout.field_id(name)]
        made, true = field_of_sample(values.cpu().numpy(), spec), fields[name][middle]
        if name in meshes:
            draw_mesh_field(path, name, title, meshes[name], made, true)
        elif not _is_numbers(spec):
            draw_field(path, name, title, made, true)


def _draw_numbers(folder: Path, surrogate: Surrogate, held_out: ValidationSet) -> None:
    """Each target field that is a few numbers, over the held-out samples."""
    layout = surrogate.layout
    specs = {name: layout.fields[layout.field_id(name)] for name in surrogate.task.problem.targets}
    names = [name for name, spec in specs.items() if _is_numbers(spec)]
    if not names:
        return
    pairs = []
    with evaluating(surrogate):
        for batch in held_out.batches(_MOST_NUMBERS, surrogate.device):
            made, true = surrogate(batch), surrogate.task.truth(batch)
            pairs.append({name: (made[name].cpu().numpy(), true[name].cpu().numpy()) for name in names})
    for name in names:
        predicted, known = (np.concatenate(each) for each in zip(*(pair[name] for pair in pairs), strict=True))
        draw_numbers(folder / f"{name}.png", name, f"{len(known)} held-out samples", predicted, known)


def _is_numbers(spec: FieldSpec) -> bool:
    return spec.extent is None and spec.size <= FEW
