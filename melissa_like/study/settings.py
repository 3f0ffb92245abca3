"""The part of the configuration that the study's decisions depend on."""

from dataclasses import dataclass

from melissa_like.protocol.control import Welcome

__all__ = ["StudySettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """Names as in `melissa_like.config`.

    Attributes:
        welcome: what every client is told, but for the endpoints and the incarnation of the server ranks.
        wants_losses: the sampler asks for the losses of samples.
        max_server_restarts: how often the server ranks may be started again without a checkpoint of more training
            steps in between.
        save_timeout_s: how long the server ranks may take to save and report when the study did not complete.
    """

    welcome: Welcome
    num_simulations: int
    num_validation_simulations: int = 0
    num_ranks: int = 1
    num_server_ranks: int = 1
    wants_losses: bool = False
    max_jobs: int = 1
    max_attempts: int = 3
    max_failed_starts: int = 3
    max_failed_fraction: float = 0.1
    max_server_restarts: int = 0
    step_timeout_s: float = 600.0
    delivery_timeout_s: float = 30.0
    start_timeout_s: float = 120.0
    save_timeout_s: float = 30.0

    @property
    def num_steps(self) -> int | None:
        """Time steps of a simulation; None of an adaptive solver."""
        return self.welcome.num_steps

    @property
    def num_parameters(self) -> int:
        """Parameters of a simulation."""
        return len(self.welcome.parameters)
