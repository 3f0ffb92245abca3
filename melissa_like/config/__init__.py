"""The configuration of a study: its schema, what follows from it, and what it must not say.

`schema` has a dataclass per YAML group, `composed` makes them from what Hydra composed, `layouts` makes the layout of
the solver's fields, `capacities` works out what the buffers hold, `derived` the rest that follows, `check` refuses what
cannot work before anything is started. Read by the launcher and by the server ranks, never by a client; imports nothing
heavy.
"""

from melissa_like.config.capacities import (
    capacity,
    capacity_nbytes,
    capacity_nbytes_per_rank,
    capacity_per_rank,
    default_capacity,
    largest_mesh_nbytes,
    sample_nbytes,
    watermark_per_rank,
)
from melissa_like.config.changes import changed_keys, refuse_changes
from melissa_like.config.checks import check, check_memory, check_window
from melissa_like.config.composed import CONFIG_FILE, as_config, load_config
from melissa_like.config.derived import (
    log_limit_bytes,
    max_pending_bytes,
    num_processes,
    routing_of,
    saves_buffer,
    walltime_s,
)
from melissa_like.config.layouts import layout_of
from melissa_like.config.memory import available_memory, shown
from melissa_like.config.schema import Config, LauncherConfig, SolverConfig, TransportConfig

__all__ = [
    "CONFIG_FILE",
    "Config",
    "LauncherConfig",
    "SolverConfig",
    "TransportConfig",
    "as_config",
    "available_memory",
    "capacity",
    "capacity_nbytes",
    "capacity_nbytes_per_rank",
    "capacity_per_rank",
    "changed_keys",
    "check",
    "check_memory",
    "check_window",
    "default_capacity",
    "largest_mesh_nbytes",
    "layout_of",
    "load_config",
    "log_limit_bytes",
    "max_pending_bytes",
    "num_processes",
    "refuse_changes",
    "routing_of",
    "sample_nbytes",
    "saves_buffer",
    "shown",
    "walltime_s",
    "watermark_per_rank",
]
