"""A place to run in where something goes wrong."""

from melissa_like.errors import DeadlineExceededError
from melissa_like.launcher.executors import InlineExecutor


class StubbornExecutor(InlineExecutor):
    """Everything ends, but the executor says that it does not."""

    def close(self, timeout_s: float) -> None:
        """Ends everything."""
        super().close(timeout_s)
        raise DeadlineExceededError("the thread job-stubborn still runs")
