"""From the configuration to the parts of a launcher: executor, samplers, the study's state; nothing is opened here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from melissa_like.config import Config, LauncherConfig, layout_of, log_limit_bytes, routing_of
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.executors import Executor
from melissa_like.plugins import accepted_settings, factory_of, make
from melissa_like.protocol.control import Welcome, WireField
from melissa_like.records import FieldSpec
from melissa_like.sampling import (
    DesignSampler,
    Sampler,
    StudySamplers,
    design_seeds,
    make_distributions,
    try_distributions,
    try_samplers,
)
from melissa_like.study import StudySettings

__all__ = ["make_executor", "make_samplers", "settings_of", "try_sampling"]

_OURS = "melissa_like.sampling."


def make_executor(launcher: LauncherConfig, on_change: Callable[[], None], run_dir: Path) -> Executor:
    """What the configuration names under `launcher.executor`, not opened.

    Args:
        launcher: of the configuration.
        on_change: see `Executor`.
        run_dir: of the study; nothing is read or written there yet.

    Raises:
        ConfigurationError: no such import path, or it does not take these arguments.
    """
    taken = accepted_settings(factory_of(launcher.executor, "launcher.executor"))
    told: dict[str, Any] = {"on_change": on_change}
    known = {"grace_s": launcher.grace_s, "log_limit_bytes": log_limit_bytes(launcher), "run_dir": run_dir}
    for name, value in known.items():
        if name not in launcher.executor and (taken is None or name in taken):
            told[name] = value
    executor: Executor = make(launcher.executor, "launcher.executor", **told)
    return executor


def make_samplers(config: Config, num_planned: int | None = None) -> StudySamplers:
    """The samplers of a study: one along `sampling.design`, unless `sampling.sampler` names another.

    Args:
        config: of the study.
        num_planned: training simulations when it was begun, for which the design is: those that were added since do not
            change the others; None: it begins.

    Raises:
        ConfigurationError: a distribution, the design or the sampler cannot be made.
    """
    distributions = make_distributions(config.solver.parameters)
    seed, _ = design_seeds(config.study.seed)
    told = {"distributions": distributions, "num_simulations": config.study.num_simulations, "seed": seed}
    # Called here, whatever `_partial_` says: a design is always made for a study.
    planned = told if num_planned is None else {**told, "num_simulations": num_planned}
    design = make({**config.sampling.design, "_partial_": False}, "sampling.design", **planned)
    sampler: Sampler = DesignSampler(design)
    if config.sampling.sampler is not None:
        sampler = make({**config.sampling.sampler, "_partial_": False}, "sampling.sampler", design=design, **told)
    for plugin, key, needed in (
        (design, "sampling.design", ("draw",)),
        (sampler, "sampling.sampler", ("next", "observe", "state_dict", "load_state_dict")),
    ):
        missing = [name for name in needed if not callable(getattr(plugin, name, None))]
        if missing:
            raise ConfigurationError(
                f"{key} is a {type(plugin).__name__}, which has no {', '.join(missing)}: see melissa_like.sampling"
            )
    return StudySamplers(sampler, distributions, seed=config.study.seed)


def try_sampling(config: Config) -> None:
    """Draw once, from samplers that nobody else draws from.

    Our own designs are not drawn from: they are as good as their distributions, and a hypercube of a million points
    would be made twice.

    Raises:
        ConfigurationError: a distribution, the design or the sampler cannot be made, or does not give parameters.
    """
    try_distributions(make_distributions(config.solver.parameters))
    plugins = [plugin for plugin in (config.sampling.design, config.sampling.sampler) if plugin is not None]
    if not all(str(plugin.get("_target_")).startswith(_OURS) for plugin in plugins):
        try_samplers(make_samplers(config), with_sampler=config.sampling.sampler is not None)


def settings_of(config: Config, *, wants_losses: bool = False, launcher_incarnation: int = 1) -> StudySettings:
    """What the study's decisions depend on.

    Args:
        config: of the study, checked.
        wants_losses: the sampler looks at the losses of samples.
        launcher_incarnation: 1 for the first launcher of the study.
    """
    layout, transport, launcher = layout_of(config.solver), config.transport, config.launcher
    welcome = Welcome(
        server_endpoints=(),
        server_incarnation=0,
        launcher_incarnation=launcher_incarnation,
        routing=int(routing_of(transport)),
        layout_id=layout.layout_id,
        fields=tuple(map(_wire_field, layout.fields)),
        parameters=layout.parameters,
        num_steps=config.solver.num_steps,
        budget_bytes=transport.budget_bytes,
        heartbeat_s=transport.heartbeat_s,
        orphan_timeout_s=config.launcher.orphan_timeout_s,
        extents=layout.extents,
        static=tuple(map(_wire_field, layout.static)),
    )
    return StudySettings(
        welcome=welcome,
        num_simulations=config.study.num_simulations,
        num_validation_simulations=config.study.num_validation_simulations,
        num_ranks=config.solver.num_ranks,
        num_server_ranks=launcher.num_server_ranks,
        wants_losses=wants_losses,
        max_jobs=launcher.max_jobs,
        max_attempts=launcher.max_attempts,
        max_failed_starts=launcher.max_failed_starts,
        max_failed_fraction=launcher.max_failed_fraction,
        max_server_restarts=launcher.max_server_restarts,
        step_timeout_s=launcher.step_timeout_s,
        delivery_timeout_s=launcher.delivery_timeout_s,
        start_timeout_s=launcher.start_timeout_s,
        save_timeout_s=launcher.save_timeout_s,
    )


def _wire_field(spec: FieldSpec) -> WireField:
    return WireField(
        name=spec.name,
        shape=spec.shape,
        dtype=spec.dtype,
        components=spec.components,
        fill_value=spec.fill_value,
        extent=spec.extent,
        indexes=spec.indexes,
    )
