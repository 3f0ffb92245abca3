"""The trial of a training where no server rank will do it: `--dry-run` and `check`.

It runs in a process of the server's environment, because the launcher never imports torch.
"""

import threading
import time
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from omegaconf import DictConfig, OmegaConf

from melissa_like.config import CONFIG_FILE, Config
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.commands import trial_spec
from melissa_like.launcher.executors import JobSpec, JobUpdate, LocalExecutor, log_tail
from melissa_like.server.trial import RESULT_FILE, TrialResult

__all__ = ["try_training"]


def try_training(composed: DictConfig, config: Config) -> str:
    """What was tried, or why nothing was; blocks for as long as a server rank may take to start.

    Args:
        composed: the configuration, prepared.
        config: the same.

    Raises:
        ConfigurationError: the training cannot work, or its trial did not come to an end.
    """
    with TemporaryDirectory(prefix="melissa-like-trial-") as name:
        folder = Path(name)
        OmegaConf.save(composed, folder / CONFIG_FILE, resolve=True)
        spec = trial_spec(folder, config.training.num_threads)
        ended = _run(spec, config.launcher.start_timeout_s)
        if ended is None:
            raise ConfigurationError(
                "the trial of the training did not end within launcher.start_timeout_s = "
                f"{config.launcher.start_timeout_s:g} s, and a server rank does the same before it is ready: allow "
                f"more, or look for what hangs; its last lines:\n{log_tail(spec.log)}"
            )
        if not (folder / RESULT_FILE).exists():
            raise ConfigurationError(
                f"the trial of the training ended ({ended.message}) without a result; its last lines:\n"
                f"{log_tail(spec.log)}"
            )
        result = msgspec.json.decode((folder / RESULT_FILE).read_bytes(), type=TrialResult)
    if result.refused:
        raise ConfigurationError(result.refused)
    return result.done


def _run(spec: JobSpec, timeout_s: float) -> JobUpdate | None:
    """How a process ended; None if it did not in time: then it has been ended."""
    changed, deadline = threading.Event(), time.monotonic() + timeout_s
    with LocalExecutor(on_change=changed.set) as executor:
        executor.submit([spec], uuid.uuid4().hex)
        while True:
            final = [update for update in executor.poll() if update.state.is_final]
            if final:
                return final[0]
            if not changed.wait(max(0.0, deadline - time.monotonic())):
                return None
            changed.clear()
