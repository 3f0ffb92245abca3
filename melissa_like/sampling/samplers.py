"""Samplers: which parameters the next simulations get, perhaps by what was learned from the last ones."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from melissa_like.errors import ConfigurationError
from melissa_like.records import FloatArray, Purpose
from melissa_like.sampling.designs import Design, MonteCarlo
from melissa_like.sampling.distributions import Distribution, far_outside
from melissa_like.sampling.snapshot import SAMPLER_FILE, Snapshot

__all__ = ["DesignSampler", "Sampler", "StudySamplers"]


class Sampler(Protocol):
    """Gives parameters when it is asked, and may look at losses meanwhile. Called on one thread of the launcher.

    Your own is named under `sampling.sampler._target_`; its factory is called with `distributions` (by name),
    `design` (what `sampling.design` names, for the share that is not steered), `num_simulations`, `seed`, and its other
    keys. The order in which losses come depends on timing, so the parameters are journaled when they are drawn.
    """

    def next(self, simulations: range) -> Sequence[Sequence[float]] | FloatArray:
        """The parameters of the simulations of these numbers, in that order.

        Returns:
            A row per simulation, the columns in the order of the distributions, and not far outside of their bounds;
            fewer rows than numbers say that there are no more simulations.
        """
        ...

    def observe(self, keys: npt.NDArray[np.int64], losses: FloatArray) -> None:
        """What samples cost in the training step that has just used them.

        Args:
            keys: int64 [n, 2]: the number of the simulation, as given to `next` or of a held-out one, and the step.
            losses: float64 [n], normalized units.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a restart needs; plain numbers, text, lists, mappings, and arrays of numbers.

        Asked for after each draw. Tuples come back as lists.
        """
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        ...


class DesignSampler:
    """Walks along a static design and ignores what it observes."""

    def __init__(self, design: Design) -> None:
        self._design = design
        self._num_drawn = 0

    def next(self, simulations: range) -> FloatArray:
        """The next points of the design."""
        rows = self._design.draw(self._num_drawn, len(simulations))
        self._num_drawn += len(rows)
        return rows

    def observe(self, keys: npt.NDArray[np.int64], losses: FloatArray) -> None:
        """Nothing to learn."""

    def state_dict(self) -> dict[str, Any]:
        """How far along the design."""
        return {"num_drawn": self._num_drawn}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._num_drawn = state["num_drawn"]


class StudySamplers:
    """The samplers of a study, by purpose.

    Held-out simulations are always drawn by Monte Carlo from a stream of their own, so they stay the same when the
    study grows or its sampler changes, and studies can be compared.

    Attributes:
        observes: whether the training sampler looks at losses; a static design does not.
    """

    def __init__(self, training: Sampler, distributions: Mapping[str, Distribution], *, seed: int) -> None:
        self._distributions = dict(distributions)
        self._training = training
        held_out = MonteCarlo(self._distributions, num_simulations=0, seed=design_seeds(seed)[1])
        self._samplers: dict[Purpose, Sampler] = {
            Purpose.TRAINING: training,
            Purpose.VALIDATION: DesignSampler(held_out),
        }
        self.observes = not isinstance(training, DesignSampler)
        self._left: deque[tuple[float, ...]] = deque()

    def next(self, purpose: Purpose, simulations: range) -> tuple[tuple[float, ...], ...]:
        """Rows of parameters for these simulations; fewer at the end of the list.

        Raises:
            ValueError: the sampler gave what are no parameters.
        """
        if purpose is not Purpose.TRAINING or not self._left:
            return self._draw(purpose, simulations)
        drawn = tuple(self._left.popleft() for _ in range(min(len(self._left), len(simulations))))
        more = simulations[len(drawn) :]
        return drawn + self._draw(purpose, more) if more else drawn

    def _draw(self, purpose: Purpose, simulations: range) -> tuple[tuple[float, ...], ...]:
        rows = np.asarray(self._samplers[purpose].next(simulations), dtype=np.float64)
        names = tuple(self._distributions)
        if rows.size == 0:
            return ()
        if rows.ndim != 2 or rows.shape[1] != len(names) or len(rows) > len(simulations):
            raise ValueError(
                f"it gave an array of shape {rows.shape} for {len(simulations)} simulations of the parameters "
                f"{', '.join(names)}: return a row per simulation, or fewer to close the list, and "
                f"{len(names)} columns"
            )
        if not np.isfinite(rows).all():
            raise ValueError(f"it gave parameters that are not finite: {rows.tolist()}")
        problem = far_outside(self._distributions, rows)
        if problem is not None:
            raise ValueError(f"it gave parameters of another range: {problem}")
        return tuple(tuple(row) for row in rows.tolist())

    def observe(self, keys: npt.NDArray[np.int64], losses: FloatArray) -> None:
        """Tell the training sampler."""
        self._training.observe(keys, losses)

    def snapshot(self, first: int, rows: tuple[tuple[float, ...], ...]) -> Snapshot:
        """The training sampler after it drew these parameters, for the simulations from `first`."""
        return Snapshot(first=first, rows=rows, state=self._training.state_dict())

    def go_on(self, num_drawn: Mapping[Purpose, int], snapshot: Snapshot | None) -> None:
        """Go on where another launcher was.

        Args:
            num_drawn: simulations that are listed, by purpose.
            snapshot: of the training sampler, where it looks at losses; None: there is none.

        Raises:
            ConfigurationError: a sampler that looks at losses has drawn, and there is no snapshot of it.
        """
        for purpose, sampler in self._samplers.items():
            if isinstance(sampler, DesignSampler):
                sampler.load_state_dict({"num_drawn": num_drawn[purpose]})
        if not self.observes:
            return
        if snapshot is not None:
            self._training.load_state_dict(snapshot.state)
            if snapshot.first >= sum(num_drawn.values()):  # the journal has not heard of this draw
                self._left.extend(snapshot.rows)
        elif num_drawn[Purpose.TRAINING]:
            raise ConfigurationError(
                f"{SAMPLER_FILE} is not there, from which the sampler would go on after {num_drawn[Purpose.TRAINING]} "
                "simulations: put it back from a copy"
            )


def design_seeds(seed: int) -> tuple[int, int]:
    """From a study's seed to those of the training and the held-out design."""
    training, validation = (int(child.generate_state(1)[0]) for child in np.random.SeedSequence(seed).spawn(2))
    return training, validation
