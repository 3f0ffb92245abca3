"""The table at the end of a sweep, as a Hydra callback: `-m` runs the studies one after another."""

from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from melissa_like.launcher.summary import print_comparison

__all__ = ["SweepTable"]


class SweepTable(Callback):
    """Collects the studies' reports and prints one comparison."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._reports: list[dict[str, Any] | None] = []

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Keep a study's overrides and report."""
        overrides = [o for o in job_return.overrides or () if not o.startswith("run_dir=")]
        self._names.append(" ".join(overrides) or "default")
        failed = job_return.status.name != "COMPLETED"
        self._reports.append(None if failed else job_return.return_value)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the table."""
        print_comparison(self._names, self._reports)
