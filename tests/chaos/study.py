"""The study that is disturbed: like the default one, with short deadlines and an audit of every sample."""

from pathlib import Path

from melissa_like.records import Window
from tests.chaos.plan import Setting
from tests.integration.studies import marked

__all__ = ["HELD_OUT", "NUM_STEPS", "STEP_S", "overrides_of"]

NUM_STEPS = 20
STEP_S = 0.1
HELD_OUT = 2


def overrides_of(folder: Path, setting: Setting, num_simulations: int, window: Window | None = None) -> list[str]:
    """What to run it with.

    Args:
        folder: of the audit.
        setting: of the seed.
        num_simulations: to train on.
        window: of time steps, that a sample is; None: one step.
    """
    views = setting.views_per_sample
    return [
        *marked("told", ranks=setting.num_solver_ranks, simulations=num_simulations, folder=folder),
        "solver.solve._target_=tests.plugins.told.told",
        f"+solver.solve.num_steps={NUM_STEPS}",
        f"+solver.solve.pause_s={STEP_S}",
        f"solver.num_steps={NUM_STEPS}",
        *(["solver.launch=''"] if setting.num_solver_ranks == 1 else []),
        f"study.num_validation_simulations={HELD_OUT}",
        "training.loss._target_=tests.plugins.losses.scaled_mse",
        "+training.loss.scale=100.0",
        "training.loop._target_=tests.plugins.audited.audited",
        f"+training.loop.folder={folder}",
        f"+training.loop.held_out={HELD_OUT}",
        "+training.loop.pause_s=0.01",
        "training.validation_interval=100",
        "training.checkpoint.interval_s=2",
        f"training.checkpoint.buffer_limit={'null' if setting.saves_buffer else 1}",
        "buffer=reservoir",
        "buffer.capacity=200",
        "buffer.watermark=20",
        f"buffer.views_per_sample={'null' if views is None else views}",
        f"launcher.num_server_ranks={setting.num_server_ranks}",
        f"launcher.max_jobs={setting.max_jobs}",
        "launcher.max_attempts=5",
        "launcher.max_failed_fraction=0.5",
        "launcher.max_server_restarts=50",
        "launcher.grace_s=1",
        "launcher.step_timeout_s=6",
        "launcher.delivery_timeout_s=6",
        "launcher.server_timeout_s=5",
        "launcher.training_timeout_s=10",
        "monitoring.interval_s=0.1",
        *_windows(window),
    ]


def _windows(window: Window | None) -> list[str]:
    if window is None:
        return []
    return [
        "training.task._target_=melissa_like.training.Autoregressive",
        f"buffer.window.length={window.length}",
        f"buffer.window.stride={window.stride}",
        f"buffer.window.hop={window.hop}",
    ]
