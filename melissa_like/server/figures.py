"""The pictures of a finished training."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from melissa_like.config import Config, capacity_per_rank, watermark_per_rank
from melissa_like.monitoring import Recorder
from melissa_like.monitoring.figures import draw_field, draw_losses, draw_population
from melissa_like.plugins import accepted_settings, factory_of
from melissa_like.protocol.reports import ValidationFigures
from melissa_like.server.build_training import window_of
from melissa_like.training import HeldOutSimulation, Surrogate, ValidationSet, evaluating

__all__ = ["draw_figures"]


def draw_figures(
    config: Config,
    run_dir: Path,
    surrogate: Surrogate,
    held_out: ValidationSet,
    recorder: Recorder,
    validations: Sequence[ValidationFigures],
) -> None:
    """Losses, the population of the buffer, and a held-out time step beside its prediction, into `figures`.

    Raises:
        Exception: whatever keeps a picture from being drawn or written.
    """
    accepted = accepted_settings(factory_of({"_target_": config.buffer._target_}, "buffer"))
    has_watermark = accepted is None or "watermark" in accepted
    window, folder = window_of(config), run_dir / "figures"
    folder.mkdir(exist_ok=True)
    draw_losses(folder / "losses.png", recorder.rows, [msgspec.structs.asdict(figures) for figures in validations])
    draw_population(
        folder / "population.png",
        recorder.rows,
        capacity_per_rank(config, window),
        watermark_per_rank(config, window) if has_watermark else None,
    )
    one = held_out.one_simulation()
    if one is not None:
        _draw_fields(folder, surrogate, one)


def _draw_fields(folder: Path, surrogate: Surrogate, held_out: HeldOutSimulation) -> None:
    """Each target field of the step in the middle."""
    middle = len(held_out.steps) // 2
    batch = held_out.batch(middle).to(surrogate.device)
    with evaluating(surrogate):
        predicted = {name: values[0].cpu().numpy() for name, values in surrogate(batch).items()}
    title = f"held-out simulation {held_out.simulation}, time step {held_out.steps[middle]}"
    for name, values in predicted.items():
        draw_field(folder / f"{name}.png", name, title, values, held_out.fields[name][middle])
