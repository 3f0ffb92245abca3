"""`Consumer`: whatever takes complete samples, behind five methods; one consumer may wrap another."""

from typing import Any, Protocol

import numpy.typing as npt

from melissa_like.records import Layout, Sample, SampleKey

__all__ = ["Consumer"]


class Consumer(Protocol):
    """Takes the complete samples of a purpose: the buffer, the held-out set, what `check` looks with, one of yours.

    A sample is assembled in memory of its consumer, so what comes off the network is copied once, to where it stays.
    `reserve` is asked when the first part of a sample arrives, `take` when the last one has. A sample that stays
    incomplete is not taken: a newer attempt goes on in the same memory, or `forget` comes.

    The receiving thread calls `begin`, `reserve`, `take` and `forget`, one at a time; `close` may come from any thread.
    What they raise ends the server rank with that exception, but for the one that `take` has to refuse a sample.

    Where a study learns from windows (`buffer.window`), the first consumer is given time steps all the same, each with
    `Sample.windows`: what it completes. Keys are those of windows then. What comes after the one that forms them, as
    your own in `training.consumers` do, is given windows: `reserve` is asked for the first step of one, and for arrays
    with one more axis in front.

    Where each simulation has its own sizes, or sends static fields, `begin` says them first. In other studies it is not
    called: a consumer of your own for these need not have it.

    A consumer that wraps another passes all calls on, and looks at a sample before it does: afterwards the arrays
    belong to whoever took them. It must know a sample that it has looked at, because `take` may be called again:

        def take(self, sample, timeout_s):
            if sample is not self._seen:  # called again, it is the same object
                self._look(sample)
                self._seen = sample
            return self._then.take(sample, timeout_s)

    One that also has `state_dict` and `load_state_dict` (which `torch.load` reads with `weights_only`) goes on after a
    restart with what it knew at the checkpoint; the receiving thread asks for it. A sample that it has looked at, and
    that waited for room then, was not delivered: it comes again after the restart.
    """

    def begin(self, simulation: int, attempt: int, layout: Layout) -> None:
        """The newest attempt of a simulation has said its sizes; never blocks.

        Comes before the first `reserve` of an attempt. What is reserved for an older one is not used any more if its
        sizes were others.

        Args:
            simulation: its number.
            attempt: the newest.
            layout: of this simulation: every shape in numbers.
        """
        ...

    def reserve(self, simulation: int, attempt: int, step: int) -> tuple[npt.NDArray[Any], ...]:
        """Memory to assemble a sample in; never blocks.

        Asked again for the same simulation and step it gives the same memory: a newer attempt overwrites what was
        incomplete of the older.

        Returns:
            One writable, C-contiguous array per field, in the order of the layout, in its global shape and dtype. Where
            simulations have their own sizes, in those that `begin` has said.
        """
        ...

    def take(self, sample: Sample, timeout_s: float) -> tuple[SampleKey, ...] | None:
        """Take a complete sample, which lies in the memory that was reserved for its key.

        Blocks while there is no room, `timeout_s` at most.

        Returns:
            The keys of the samples that are delivered now, which is what the launcher counts: this one's, or none yet,
            or those of several steps of the same simulation, also earlier ones; each key once. None: there was no
            room. Then nothing is lost, the call is made again with the same sample, and nothing is written twice.

        Raises:
            UnfitSampleError: it must not be learned from, and is not delivered. Its simulation fails as if the solver
                had raised, or it alone is given up; the server rank goes on.
        """
        ...

    def forget(self, simulation: int) -> None:
        """Nothing more comes of a simulation: give back what is reserved for it. It may never have been heard of."""
        ...

    def close(self) -> None:
        """Wake whoever waits; the first call counts."""
        ...
