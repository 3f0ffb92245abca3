"""What a header alone tells: whether it belongs to this study and rank."""

from melissa_like.assembly.refusals import Reason, Refusal, refusal_of
from melissa_like.protocol.wire import Header
from melissa_like.records import Layout, Routing, StudyIdentity, owner_of

__all__ = ["Inspection"]

#: Labels of a sample are signed; a step of -1 that a client sends as unsigned is far beyond.
_LAST_STEP = 2**63 - 1
_LAST_SIMULATION = 2**32 - 1


class Inspection:
    """Looks at headers; knows the study and this server rank, and nothing of what has arrived.

    Args:
        layout: of the study.
        identity: what every message must carry.
        server_rank: this one, among `num_server_ranks`.
        routing: which samples it owns.
        num_simulations: of the study, held-out ones too; None: not known.
    """

    def __init__(
        self,
        layout: Layout,
        identity: StudyIdentity,
        server_rank: int,
        num_server_ranks: int,
        routing: Routing,
        num_simulations: int | None = None,
    ) -> None:
        self._layout_id = layout.layout_id
        self._identity = identity
        self._server_rank = server_rank
        self._num_server_ranks = num_server_ranks
        self._routing = routing
        self._num_simulations = _LAST_SIMULATION + 1 if num_simulations is None else num_simulations

    def owns(self, simulation: int, step: int) -> bool:
        """Whether a sample can be, and belongs to this server rank."""
        owner = owner_of(simulation, step, self._num_server_ranks, self._routing)
        return owner == self._server_rank and step <= _LAST_STEP

    def refuse_stranger(self, header: Header) -> Refusal | None:
        """What does not come from this study, or cannot be meant for it."""
        mine = self._identity
        if not mine.is_shown_by(header.study, header.secret):
            return refusal_of(header, Reason.OTHER_STUDY, "it carries another study or secret")
        if (header.launcher_incarnation, header.server_incarnation) != (
            mine.launcher_incarnation,
            mine.server_incarnation,
        ):
            return refusal_of(header, Reason.OTHER_INCARNATION, "its launcher or server was restarted since")
        if header.layout_id != self._layout_id:
            return refusal_of(
                header,
                Reason.WRONG_LAYOUT,
                f"its layout is {header.layout_id:#010x} but the study has {self._layout_id:#010x}: declare the fields "
                "and parameters of the study's configuration, in its order",
            )
        if header.attempt < 1:
            return refusal_of(
                header,
                Reason.NO_ATTEMPT,
                f"it names attempt {header.attempt} but attempts are numbered from 1: send the one Assignment gave",
            )
        if header.simulation >= self._num_simulations:
            return refusal_of(
                header,
                Reason.NO_SIMULATION,
                f"the study has {self._num_simulations} simulations, numbered from 0: send the one Assignment gave",
            )
        return None

    def refuse_misrouted(self, header: Header) -> Refusal | None:
        """What another server rank owns, or none can."""
        if header.step > _LAST_STEP:
            return refusal_of(
                header,
                Reason.NO_STEP,
                f"it is of step {header.step}, the last one possible is {_LAST_STEP}: number the steps from 0",
            )
        owner = owner_of(header.simulation, header.step, self._num_server_ranks, self._routing)
        if owner != self._server_rank:
            return refusal_of(
                header,
                Reason.WRONG_OWNER,
                f"step {header.step} came to server rank {self._server_rank} but belongs to {owner}: route as "
                "protocol/README.md says",
            )
        return None
