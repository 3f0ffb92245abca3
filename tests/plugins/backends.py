"""A place to run in where something goes wrong."""

from collections.abc import Callable

from melissa_like.config import Config
from melissa_like.errors import DeadlineExceededError
from melissa_like.launcher.backends import InlineBackend
from melissa_like.launcher.executors import Executor, InlineExecutor


class _Stubborn(InlineExecutor):
    def close(self, timeout_s: float) -> None:
        super().close(timeout_s)
        raise DeadlineExceededError("the thread job-stubborn still runs")


class StubbornBackend(InlineBackend):
    """Everything ends, but the executor says that it does not."""

    def executor(self, config: Config, on_change: Callable[[], None]) -> Executor:
        """Threads."""
        return _Stubborn(self._run, on_change=on_change)
