"""Which failures happen when: follows from the seed alone."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Failure", "Kind", "Setting", "failures", "setting_of"]


class Kind(StrEnum):
    """What is done."""

    KILL_SOLVER = "kill solver"
    KILL_SERVER = "kill server"
    KILL_ALL_SERVERS = "kill all servers"
    KILL_GUARD = "kill guard"
    KILL_LAUNCHER = "kill launcher"
    STOP_SOLVER = "stop solver"
    STOP_SERVER = "stop server"
    STOP_LAUNCHER = "stop launcher"
    FULL_DISK = "full disk"


#: How often each is drawn, in relation to the others, and how long it lasts at least and at most (seconds).
_TABLE: dict[Kind, tuple[int, float, float]] = {
    Kind.KILL_SOLVER: (6, 0.0, 0.0),
    Kind.KILL_SERVER: (4, 0.0, 0.0),
    Kind.KILL_ALL_SERVERS: (1, 0.0, 0.0),
    Kind.KILL_GUARD: (1, 0.0, 0.0),
    Kind.KILL_LAUNCHER: (1, 0.0, 3.0),
    Kind.STOP_SOLVER: (2, 0.2, 12.0),
    Kind.STOP_SERVER: (2, 0.2, 10.0),
    Kind.STOP_LAUNCHER: (1, 0.5, 10.0),
    Kind.FULL_DISK: (1, 0.5, 4.0),
}
_SHORTEST_PAUSE_S, _MEAN_PAUSE_S = 0.3, 2.5
#: Of the failures, how many wait until the study trains; the others come whenever their time has come.
_IN_TRAINING = 0.75
#: What every seed does among its first failures, in any order, as far as it is wanted.
_ALWAYS = (Kind.KILL_SOLVER, Kind.KILL_SERVER, Kind.KILL_SOLVER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failure.

    Attributes:
        after_s: since the one before has begun.
        lasts_s: from the stop to the continuation, and the like.
        choice: of the victim among those that live, in [0, 1).
        in_training: not before the study trains.
        num_server_ranks: with which a study whose launcher is killed is resumed; None: as before.
    """

    kind: Kind
    after_s: float
    lasts_s: float
    choice: float
    in_training: bool
    num_server_ranks: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The study of a seed."""

    num_server_ranks: int
    num_solver_ranks: int
    views_per_sample: int | None
    saves_buffer: bool
    max_jobs: int = 2


def setting_of(seed: int) -> Setting:
    """One and two server ranks, one and two solver ranks, with and without fixed views and saved buffers, in turn."""
    return Setting(
        num_server_ranks=1 + seed % 2,
        num_solver_ranks=1 + seed // 2 % 2,
        views_per_sample=(None, 3)[seed // 4 % 2],
        saves_buffer=seed // 8 % 2 == 0,
    )


def failures(seed: int, kinds: frozenset[Kind]) -> Iterator[Failure]:
    """The failures of a seed, without an end."""
    dice = random.Random(seed)
    possible = [kind for kind in Kind if kind in kinds]
    weights = [_TABLE[kind][0] for kind in possible]
    first = [kind for kind in dice.sample(_ALWAYS, len(_ALWAYS)) if kind in kinds]
    while True:
        always = bool(first)
        kind = first.pop() if first else dice.choices(possible, weights)[0]
        _, shortest, longest = _TABLE[kind]
        yield Failure(
            kind=kind,
            after_s=_SHORTEST_PAUSE_S + dice.expovariate(1.0 / _MEAN_PAUSE_S),
            lasts_s=dice.uniform(shortest, longest),
            choice=dice.random(),
            in_training=dice.random() < _IN_TRAINING or always,
            num_server_ranks=dice.choice((None, 1, 2)),
        )
