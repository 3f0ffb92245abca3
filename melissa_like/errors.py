"""The error vocabulary: what the world can do to a study.

A caller's mistake is a `ValueError` or a `TypeError`, a mistake of ours an `AssertionError`; what the world does is
a `MelissaLikeError`. Messages say what, received, expected, do. `story_of` tells any error in words that can be sent.
"""

import os
import traceback
from itertools import dropwhile

import msgspec

__all__ = [
    "UNDECODABLE",
    "UNREADABLE",
    "CheckpointDamagedError",
    "ConfigurationError",
    "ConnectionRefusedByStudyError",
    "DeadlineExceededError",
    "LeaseError",
    "MelissaLikeError",
    "ProgramFailedError",
    "ProtocolError",
    "ReceptionFailedError",
    "SchedulerError",
    "SolverError",
    "StudyFailedError",
    "StudyStoppedError",
    "TrainingDivergedError",
    "TransportError",
    "UnfitSampleError",
    "printable",
    "story_of",
]

#: What msgspec raises of bytes that it cannot decode: besides its own, of text that is no UTF-8, and of lists in lists
#: in lists.
UNDECODABLE: tuple[type[Exception], ...] = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
#: The same of a file.
UNREADABLE: tuple[type[Exception], ...] = (OSError, *UNDECODABLE)

_TRACE_ENTRIES = 12
_OWN = os.path.dirname(__file__) + os.sep
_HEAD, _TAIL = 4_000, 16_000


class MelissaLikeError(Exception):
    """Base of every error that is neither the caller's mistake nor ours."""


class ConfigurationError(MelissaLikeError):
    """The configuration cannot work; raised before anything is started."""


class ProtocolError(MelissaLikeError):
    """A message does not follow the wire format, or is not meant for this receiver."""


class TransportError(MelissaLikeError):
    """A socket could not be opened, bound or reached."""


class DeadlineExceededError(MelissaLikeError):
    """Something that must happen within a deadline did not."""


class SchedulerError(MelissaLikeError):
    """A command of the batch scheduler failed, or did not answer in time."""


class LeaseError(MelissaLikeError):
    """Another launcher works on the run directory."""


class ConnectionRefusedByStudyError(MelissaLikeError):
    """The launcher refused this client; the message is its reason."""


class StudyStoppedError(MelissaLikeError):
    """The study ended while this process was still part of it."""


class SolverError(MelissaLikeError):
    """A solver broke its contract: an undeclared field, a wrong dtype, a box outside the global array."""


class ProgramFailedError(MelissaLikeError):
    """A program that is followed has failed, or left something that cannot be read; another attempt may succeed."""


class UnfitSampleError(MelissaLikeError):
    """A complete sample must not be learned from; the message names its simulation, its step and why.

    Args:
        message: what is wrong with it.
        drops: the sample alone is given up; else its simulation fails, and may be run again.
    """

    def __init__(self, message: str, *, drops: bool = False) -> None:
        super().__init__(message)
        self.drops = drops


class CheckpointDamagedError(MelissaLikeError):
    """A checkpoint is not as it was written: something is missing, or has other bytes."""


class ReceptionFailedError(MelissaLikeError):
    """The receiving thread of a server rank died; `__cause__` holds its exception."""


class TrainingDivergedError(MelissaLikeError):
    """The training loss is no longer a finite number, and so are the weights."""


class StudyFailedError(MelissaLikeError):
    """The study ended with outcome `failed`; the message is the verdict with its story."""


def printable(text: str) -> str:
    """A text that UTF-8 can hold: a lone surrogate, as in the name of a strange file, becomes an escape."""
    return text.encode(errors="backslashreplace").decode()


def story_of(error: BaseException) -> str:
    """What a person is told of an error, whatever it is: 20,000 characters at most, and printable.

    Of ours its message, and of a caller's mistake that this library found; of any other the traceback's last entries,
    from where the user's code begins, which also tells of an error without a message, or with one that cannot be had.
    """
    if _is_sentence(error) and all(isinstance(argument, str) for argument in error.args):
        text = str(error)
    else:
        told = traceback.TracebackException.from_exception(error)
        _leave_out_ours(told)
        text = "".join([*told.format()][-_TRACE_ENTRIES:]).strip()
    if len(text) > _HEAD + _TAIL:
        left_out = len(text) - _HEAD - _TAIL
        text = f"{text[:_HEAD]}\n... {left_out} characters are left out ...\n{text[-_TAIL:]}"
    return printable(text)


def _is_sentence(error: BaseException) -> bool:
    """Whether its message is one of ours, so that it says what to do."""
    if isinstance(error, MelissaLikeError):
        return True
    frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, ValueError | TypeError) and bool(frames) and all(name.startswith(_OWN) for name in frames)


def _leave_out_ours(told: traceback.TracebackException | None) -> None:
    """Take the frames of this library from the beginning of a traceback and of those that led to it, if more follow."""
    while told is not None:
        kept = [*dropwhile(lambda frame: frame.filename.startswith(_OWN), told.stack)]
        if kept:
            told.stack[:] = kept
        told = told.__cause__ or told.__context__
