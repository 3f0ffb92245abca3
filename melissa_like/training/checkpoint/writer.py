"""`CheckpointWriter`: the thread that writes checkpoints, off the training path, one after the other."""

import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from melissa_like.buffer import SavedRows
from melissa_like.errors import CheckpointDamagedError
from melissa_like.training.checkpoint.folder import CheckpointFolder, Manifest
from melissa_like.training.checkpoint.shard import ShardContent, write_shard

__all__ = ["CheckpointWriter"]

_WAIT_S = 1.0


class _LeftError(Exception):
    """The writer is being closed: what it writes is not needed any more."""


class CheckpointWriter:
    """Writes the shards of one rank; rank 0 also completes what all ranks have written.

    A disk that is full costs the checkpoint and nothing else: the ones before stay, the half one is removed, and the
    training goes on with a warning in the log and in `problem`. What others read are single references.

    Attributes:
        ended: number of the newest shard whose writing has ended here, and whether it failed.
        down: numbers of the newest shards that are on the disk, of this rank; two at most.
        newest: the newest complete checkpoint; None of other ranks than 0, and before the first.
        num_written: shards written.
        nbytes: of the newest of them.
        seconds: spent writing.

    Args:
        folder: of the study's checkpoints.
        rank: whose shards.
        newest_number: the highest number so far.
        on_complete: told of each checkpoint that is complete, on the writer's thread.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        rank: int,
        *,
        newest_number: int = 0,
        on_complete: Callable[[Manifest], None] = lambda manifest: None,
    ) -> None:
        self._folder = folder
        self._rank = rank
        self._on_complete = on_complete
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._num_waiting = 0
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
        self._num_problems = 0
        self._problem = ""
        self.ended = (newest_number, False)
        self.down: tuple[int, ...] = ()
        self.newest: Manifest | None = None
        self.num_written = 0
        self.nbytes = 0
        self.seconds = 0.0

    @property
    def problem(self) -> str | None:
        """What could not be written, in one line; None if all could."""
        if not self._num_problems:
            return None
        more = f" ({self._num_problems} times; the last time is shown)" if self._num_problems > 1 else ""
        return f"a checkpoint could not be written in {self._folder.path}{more}: {self._problem}"

    def start(self) -> None:
        """Begin to wait for something to write."""
        self._thread.start()

    def write(self, number: int, content: ShardContent, let_go: Callable[[], None]) -> None:
        """Have a shard written; never blocks.

        Args:
            number: of the checkpoint.
            content: of the shard.
            let_go: called when nothing of the content is needed any more, however that ended.
        """
        self._add(lambda: self._write(number, content, let_go))

    def fail(self, number: int, error: Exception) -> None:
        """There is no shard of this checkpoint, because its content could not be had; from any thread."""
        self._add(lambda: self._note(number, error))

    def finish(self, number: int, *, batches: int, layout_id: int, kept: tuple[str, ...], num_ranks: int) -> None:
        """Rank 0: the shards of all ranks are down, so have the checkpoint completed; never blocks."""

        def finish() -> None:
            try:
                manifest = self._folder.finish(
                    number, batches=batches, layout_id=layout_id, kept=kept, num_ranks=num_ranks
                )
            except (OSError, CheckpointDamagedError) as error:
                self._tell(error)
                self._folder.remove(number)
                return
            self.newest = manifest
            self._on_complete(manifest)

        self._add(finish)

    def remove(self, number: int) -> None:
        """Rank 0: a rank has no shard of this checkpoint, so have those of the others removed; never blocks."""
        self._add(lambda: self._folder.remove(number))

    def wait(self, timeout_s: float) -> bool:
        """Block until all that was asked for is done, `timeout_s` at most; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._num_waiting, timeout_s)

    def close(self, timeout_s: float) -> None:
        """End the thread; a shard that is being written is given up.

        A disk that does not come to the end of what it is told is left to the end of the process, with a warning.
        """
        self._leaving.set()
        self._tasks.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                sys.stderr.write(f"WARNING: the disk of {self._folder.path} has not answered for {timeout_s:g} s\n")

    def _add(self, task: Callable[[], None]) -> None:
        with self._changed:
            self._num_waiting += 1
        self._tasks.put(task)

    def _run(self) -> None:
        while True:
            try:
                task = self._tasks.get(timeout=_WAIT_S)
            except queue.Empty:
                continue
            if task is None:
                return
            try:
                task()
            finally:
                with self._changed:
                    self._num_waiting -= 1
                    self._changed.notify_all()

    def _write(self, number: int, content: ShardContent, let_go: Callable[[], None]) -> None:
        started = time.monotonic()
        content = replace(
            content, samples=self._unless_leaving(content.samples), held_out=self._unless_leaving(content.held_out)
        )
        try:
            shard = write_shard(self._folder.place_of(number), self._rank, content)
        except _LeftError:
            return
        except Exception as error:  # whatever it is, the training is worth more than this checkpoint
            self._note(number, error)
            return
        finally:
            let_go()
            self.seconds += time.monotonic() - started
        self.num_written += 1
        self.nbytes = shard.nbytes
        self.down = (*self.down[-1:], number)
        self.ended = (number, False)

    def _unless_leaving(self, pieces: Iterable[SavedRows]) -> Iterator[SavedRows]:
        for piece in pieces:
            if self._leaving.is_set():
                raise _LeftError
            yield piece

    def _note(self, number: int, error: Exception) -> None:
        self._tell(error)
        self.ended = (number, True)

    def _tell(self, error: Exception) -> None:
        self._num_problems += 1
        self._problem = f"{type(error).__name__}: {error}"
        told = "" if isinstance(error, OSError | CheckpointDamagedError) else _traceback_of(error)
        sys.stderr.write(f"WARNING: a checkpoint could not be written, the ones before stay: {self._problem}\n{told}")


def _traceback_of(error: Exception) -> str:
    return "".join(traceback.format_exception(error))
