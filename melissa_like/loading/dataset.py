"""`OnlineDataset`: the stream as a PyTorch dataset, for training loops that are not ours."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from torch.utils.data import IterableDataset, get_worker_info

from melissa_like.loading.batch import Batch
from melissa_like.loading.loader import Loader

__all__ = ["OnlineDataset"]

Example = TypeVar("Example", covariant=True)


class OnlineDataset(IterableDataset[Example], Generic[Example]):
    """Batches of a loader, for any loop that iterates a dataset: Lightning, PhysicsNeMo, or your own.

    It yields whole batches, so that a `DataLoader` around it needs `batch_size=None`, and `num_workers=0`: the loader's
    thread prepares batches already, and the stream cannot be read from another process. It can be iterated once, which
    opens the loader and closes it at the end. For one server rank only: other loops have no notion of a step of zero
    weight, and ranks whose streams end unevenly would wait for each other for ever.

    Args:
        loader: not yet opened. Loops that look one batch ahead, as Lightning's, need `turns_in_use=2` at least: with
            less the batch in training would be overwritten.
        transform: called with each batch, whose memory is reused; its result is yielded.

    Raises:
        ValueError: a loader of several ranks, or one that keeps less than two turns.
    """

    def __init__(self, loader: Loader, transform: Callable[[Batch], Example]) -> None:
        if loader.num_ranks != 1:
            raise ValueError(
                f"the loader is one of {loader.num_ranks} server ranks but OnlineDataset is for one: set "
                f"launcher.num_server_ranks=1, or iterate over the Loader and step with zero weight where a turn has "
                f"no batch"
            )
        if loader.turns_in_use < 2:
            raise ValueError(
                f"the loader keeps {loader.turns_in_use} turn in memory, and a loop that looks one batch ahead would "
                f"train on overwritten samples: make the loader with turns_in_use=2"
            )
        self._loader = loader
        self._transform = transform

    def __iter__(self) -> Iterator[Example]:
        """The transformed batches, in the order of the turns.

        Raises:
            RuntimeError: called in a process of a `DataLoader`, or a second time.
        """
        if get_worker_info() is not None:
            raise RuntimeError(
                "OnlineDataset is read by a process of a DataLoader with num_workers > 0, where the stream does not "
                "arrive: write DataLoader(dataset, batch_size=None, num_workers=0)"
            )
        return self._batches()

    def _batches(self) -> Iterator[Example]:
        with self._loader as turns:
            for turn in turns:
                if turn.batch is not None:
                    yield self._transform(turn.batch)
