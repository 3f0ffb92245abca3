"""The sampler's thread: draws parameters when asked, and looks at losses, while the launcher's loop goes on.

A sampler may think for seconds; whoever asked finds the answer among the events. An exception of the sampler is an
event too: it ends the study with a reason, not the launcher.
"""

import queue
import threading
import traceback
from collections import deque
from collections.abc import Callable
from types import TracebackType

import numpy as np

from melissa_like.errors import story_of
from melissa_like.protocol.control import Losses
from melissa_like.records import Purpose
from melissa_like.sampling import Snapshot, StudySamplers, samplers
from melissa_like.study.commands import AskParameters
from melissa_like.study.events import Event, ParametersDrawn, SamplingFailed

__all__ = ["Drawing"]

_CLOSE_S = 1.0
#: Reports of losses that may wait: a sampler that is slower than the training sees the newest.
_MOST_LOSSES = 100


class Drawing:
    """Owns the samplers, on a thread of its own.

    Args:
        samplers: of the study.
        on_answer: called, on that thread, when `take` has something new; must return at once.
        keep: called, on that thread, with a sampler that looks at losses as it is after a draw, before `take` gives it.
    """

    def __init__(
        self,
        samplers: StudySamplers,
        on_answer: Callable[[], None],
        keep: Callable[[Snapshot], None] = lambda snapshot: None,
    ) -> None:
        self._samplers = samplers
        self._on_answer = on_answer
        self._keep = keep
        self._questions: queue.SimpleQueue[AskParameters | None] = queue.SimpleQueue()
        self._losses: deque[Losses] = deque(maxlen=_MOST_LOSSES)
        self._answers: deque[Event] = deque()
        self._thread = threading.Thread(target=self._run, name="sampling", daemon=True)

    def __enter__(self) -> "Drawing":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the thread; one that is thinking is left behind, it ends with the process."""
        self._questions.put(None)
        self._thread.join(_CLOSE_S)

    def ask(self, question: AskParameters) -> None:
        """Have parameters drawn; never blocks."""
        self._questions.put(question)

    def observe(self, losses: Losses) -> None:
        """Hand over losses, looked at before the next question is answered; never blocks."""
        self._losses.append(losses)

    def take(self) -> tuple[Event, ...]:
        """The answers since the last call; never blocks."""
        return tuple(self._answers.popleft() for _ in range(len(self._answers)))

    def _run(self) -> None:
        try:
            while (question := self._questions.get()) is not None:
                self._look_at_losses()
                numbers = range(question.first, question.first + question.num)
                rows = self._samplers.next(question.purpose, numbers)
                if self._samplers.observes and question.purpose is Purpose.TRAINING:
                    self._keep(self._samplers.snapshot(question.first, rows))
                self._answer(ParametersDrawn(purpose=question.purpose, parameters=rows))
        except BaseException as error:  # SystemExit of a user's sampler too: the study must hear of it
            self._answer(SamplingFailed(message=_told(error)))

    def _look_at_losses(self) -> None:
        for _ in range(len(self._losses)):
            told = self._losses.popleft()
            keys = np.array(told.keys, dtype=np.int64).reshape(-1, 2)
            self._samplers.observe(keys, np.array(told.losses, dtype=np.float64))

    def _answer(self, event: Event) -> None:
        self._answers.append(event)
        self._on_answer()


def _told(error: BaseException) -> str:
    """What is wrong with what a sampler gave, in our words; of what it raised itself, where."""
    frames = traceback.extract_tb(error.__traceback__)
    is_ours = isinstance(error, ValueError) and bool(frames) and frames[-1].filename == samplers.__file__
    return str(error) if is_ours else story_of(error)
