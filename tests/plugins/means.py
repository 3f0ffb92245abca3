"""A consumer that computes running means of what is received and hands it on."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from melissa_like.assembly import Consumer
from melissa_like.records import Layout, Sample, SampleKey


class Means:
    """The mean of each field over all samples that pass, at every point of the grid, in float64.

    Args:
        then: takes the samples.
        folder: where a file `means-PID.npz` is written when it is closed: the number of samples as `count`, the means
            as `field_0`, `field_1` ... in the order of the layout. None: nothing is written.

    Attributes:
        count: samples so far.
        means: by position in the layout; empty before the first sample.
    """

    def __init__(self, *, then: Consumer, folder: str | None = None) -> None:
        self._then = then
        self._folder = folder
        self._lock = threading.Lock()
        self._seen: Sample | None = None
        self.count = 0
        self.means: list[npt.NDArray[np.float64]] = []

    def begin(self, simulation: int, attempt: int, layout: Layout) -> None:
        """The sizes of a simulation."""
        self._then.begin(simulation, attempt, layout)

    def reserve(self, simulation: int, attempt: int, step: int) -> tuple[npt.NDArray[Any], ...]:
        """The memory of the next one."""
        return self._then.reserve(simulation, attempt, step)

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...] | None:
        """Look at the sample, once, and hand it on."""
        if sample is not self._seen:
            with self._lock:
                self._look(sample)
            self._seen = sample
        return self._then.take(sample, timeout_s)

    def forget(self, simulation: int) -> None:
        """Nothing of a single simulation is kept here."""
        self._then.forget(simulation)

    def close(self) -> None:
        """Write the means, and close the next one."""
        if self._folder is not None:
            with self._lock:
                named: dict[str, Any] = {f"field_{number}": values for number, values in enumerate(self.means)}
                np.savez(Path(self._folder) / f"means-{os.getpid()}.npz", count=self.count, **named)
        self._then.close()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"count": self.count, "means": [torch.from_numpy(mean) for mean in self.means]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from it."""
        self.count = state["count"]
        self.means = [mean.numpy() for mean in state["means"]]

    def _look(self, sample: Sample) -> None:
        if not self.means:
            self.means = [np.zeros(values.shape) for values in sample.fields]
        self.count += 1
        for mean, values in zip(self.means, sample.fields, strict=True):
            mean += (values - mean) / self.count
