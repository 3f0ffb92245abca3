"""The trial of a configuration: by server rank 0 before it says hello, and by a process of its own for a dry run.

The result of the second, `python -m melissa_like.server FOLDER --trial`, is a file: what the user's code prints must
not be taken for it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from melissa_like.config import Config, layout_of, load_config
from melissa_like.errors import ConfigurationError
from melissa_like.extras import missing_package
from melissa_like.server.stacks import stacks_in_the_log_after

if TYPE_CHECKING:
    import torch

__all__ = ["RESULT_FILE", "TrialResult", "run_trial", "try_training"]

RESULT_FILE = "trial.json"
#: Batch sizes where the device that will train is not there.
_SMALL = 2
#: Part of launcher.start_timeout_s after which a trial says where it is, before the launcher ends it.
_PATIENCE = 0.7


class TrialResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a trial in a process of its own went.

    Attributes:
        done: what was tried, or why nothing was.
        refused: why the configuration cannot work; empty if it can.
    """

    done: str
    refused: str = ""


def try_training(config: Config, device: "torch.device", folder: Path, *, batch_size: int | None = None) -> None:
    """Build everything that a training is made of, and try it.

    Args:
        config: of the study.
        device: to train on.
        folder: for what is saved and loaded meanwhile.
        batch_size: to try it with, besides single samples; None: the configured one.

    If it hangs, the stacks of all threads go into the log before launcher.start_timeout_s is over.

    Raises:
        ConfigurationError: what does not work; names the key, what was received and what is expected.
    """
    from melissa_like.server.build_training import (
        make_loop,
        make_recipe,
        make_surrogate,
        parameter_bounds,
        suspects_of,
        window_of,
    )
    from melissa_like.server.memory import check_fits
    from melissa_like.training import Probe, Surrogate, try_out

    window = window_of(config)
    probe = Probe(
        layout=layout_of(config.solver),
        bounds=parameter_bounds(config),
        num_steps=config.solver.num_steps,
        device=device,
    )
    recipe, suspects, size = make_recipe(config), suspects_of(config), batch_size or config.training.batch_size

    def build() -> Surrogate:
        surrogate = make_surrogate(config, device)
        if device.type == "cpu":
            with suspects.blame("training.optimizer", "takes a step"):
                check_fits(config, surrogate.network, recipe.optimizer, size, window=window)
        return surrogate

    with stacks_in_the_log_after(_PATIENCE * config.launcher.start_timeout_s):
        try_out(
            build,
            recipe,
            make_loop(config),
            probe=probe,
            sizes=tuple(sorted({size, 1}, reverse=True)),
            num_ranks=config.launcher.num_server_ranks,
            suspects=suspects,
            folder=folder,
        )


def run_trial(folder: Path) -> int:
    """Try the configuration in a folder, and leave the result there; the exit code is 0 whatever it is."""
    (folder / RESULT_FILE).write_bytes(msgspec.json.encode(_tried(load_config(folder), folder)))
    return 0


def _tried(config: Config, folder: Path) -> TrialResult:
    try:
        import torch

        from melissa_like.server.build import make_buffer, make_consumer, pick_device
        from melissa_like.server.build_training import window_of
        from melissa_like.server.idle_compiler import leave_compiler_unloaded
    except ModuleNotFoundError as error:
        missing = missing_package(error, "the trial of a training")
        if missing is None:
            raise
        return TrialResult(done=f"not tried: {missing}")
    torch.set_num_threads(config.training.num_threads)
    if not config.training.compile:
        leave_compiler_unloaded()
    is_there = config.training.device != "cuda" or torch.cuda.is_available()
    device = pick_device(config.training.device, 0) if is_there else torch.device("cpu")
    batch_size = config.training.batch_size if is_there else min(_SMALL, config.training.batch_size)
    try:
        window = window_of(config)
        if config.buffer.device != "cuda" or device.type == "cuda":
            buffer = make_buffer(config, 0, device, window)
            make_consumer(config, buffer, layout_of(config.solver), folder, 0, window).first.close()
        try_training(config, device, folder, batch_size=batch_size)
    except ConfigurationError as error:
        return TrialResult(done="tried", refused=str(error))
    where = "" if is_there else " (training.device is 'cuda', and there is none here)"
    sizes = "single samples" if batch_size == 1 else f"batches of {batch_size} and of single samples"
    return TrialResult(done=f"tried with {sizes} on {device}{where}: it works")
