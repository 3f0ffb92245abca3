"""What a server rank leaves of its training, whether that came to its end or not: the surrogate and the pictures."""

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_model
from torch import nn

from melissa_like.config import Config
from melissa_like.errors import StudyFailedError
from melissa_like.monitoring import Recorder
from melissa_like.protocol.reports import ValidationFigures
from melissa_like.server.figures import draw_figures
from melissa_like.training import Surrogate, ValidationSet, save_surrogate

__all__ = ["draw", "keep"]


def keep(trained: nn.Module, run_dir: Path, *, incomplete: str | None) -> None:
    """A surrogate as a folder that predicts; of another module its weights, for its maker.

    Args:
        trained: what the training loop returned, or what it was training.
        run_dir: of the study.
        incomplete: why its training did not come to its end; None: it did.

    Raises:
        StudyFailedError: the run directory has no room, or cannot be written; or what was trained has become something
            that cannot be saved.
    """
    try:
        if isinstance(trained, Surrogate):
            save_surrogate(trained, run_dir / "surrogate", incomplete=incomplete)
        else:
            save_model(trained, str(run_dir / "model.safetensors"))
    except (OSError, SafetensorError) as error:
        raise StudyFailedError(
            f"what was trained cannot be saved in {run_dir} ({error}): make room, or choose another run_dir"
        ) from error
    except Exception as error:  # a network that has changed since the trial, which saved it
        raise StudyFailedError(
            f"what was trained cannot be saved in {run_dir} ({type(error).__name__}: {error}): its weights and buffers "
            "must stay what they are after __init__, plain tensors with memory of their own"
        ) from error


def draw(
    config: Config,
    run_dir: Path,
    surrogate: Surrogate,
    held_out: ValidationSet,
    recorder: Recorder,
    validations: Sequence[ValidationFigures],
) -> str | None:
    """Draw the pictures; why not all of them could be, in one line, or None.

    It costs a picture, not the study: the traceback is in the rank's log, the line in the report.
    """
    try:
        draw_figures(config, run_dir, surrogate, held_out, recorder, validations)
    except Exception as error:
        sys.stderr.write(f"not all figures could be drawn:\n{traceback.format_exc()}")
        return f"not all figures could be drawn in {run_dir / 'figures'}: {type(error).__name__}: {error}"
    return None
