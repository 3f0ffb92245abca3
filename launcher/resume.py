"""`melissa-like resume`: another launcher goes on with a study, however the one before ended."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from melissa_like.config import CONFIG_FILE, Config, as_config, changed_keys, refuse_changes
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.lease import take_lease
from melissa_like.launcher.mistakes import explain_refusal
from melissa_like.launcher.report import make_report
from melissa_like.launcher.run import Launch, Past, keep_report, prepare, run_launch
from melissa_like.launcher.rundir import REPORT_FILE, renew_run_dir, working_directory_of
from melissa_like.launcher.shell import Observations
from melissa_like.launcher.summary import holds_nothing
from melissa_like.protocol.control import ServerFinished
from melissa_like.records import Purpose, ServerRank
from melissa_like.sampling import StudySamplers, read_snapshot
from melissa_like.study import Replayed, read_journal, replay
from melissa_like.study.events import Said
from melissa_like.study.journal import JOURNAL_FILE

__all__ = ["resume_study", "with_overrides"]


def resume_study(run_dir: Path, overrides: Sequence[str], tell: Callable[[str], object]) -> dict[str, Any] | None:
    """Go on with a study until its next verdict, and return its report; None if it has completed and no more is wanted.

    What still runs of it is ended before anything is started. The working directory becomes that of the first launcher.

    Args:
        run_dir: of the study.
        overrides: KEY=VALUE, of what may change.
        tell: told what is being done.

    Raises:
        ConfigurationError: there is no study, its journal is damaged, or an override is refused; nothing was started.
        LeaseError: another launcher works on it.
        StudyFailedError: the run directory cannot be written.
        DeadlineExceededError: something that still runs of it could not be ended.
    """
    _require_study(run_dir)
    try:
        lease = take_lease(run_dir, tell=tell)
    except OSError as error:
        raise ConfigurationError(f"{run_dir} cannot be written: {error}") from None
    with lease:
        before = cast(DictConfig, OmegaConf.load(run_dir / CONFIG_FILE))
        before.run_dir = str(run_dir)  # it may have been moved
        composed = with_overrides(before, overrides)
        replayed = replay(run_dir, lease.keep, tell) if (run_dir / JOURNAL_FILE).exists() else None
        if replayed is not None:  # as `melissa-like scale` has left it
            before.launcher.max_jobs = replayed.state.settings.max_jobs
            composed = with_overrides(before, overrides)
        if replayed is not None and _is_over(replayed, as_config(composed)):
            return None if (run_dir / REPORT_FILE).exists() else keep_report(_report_of(run_dir, replayed), run_dir)
        _refuse_what_kept_nothing(run_dir)
        _go_where_it_was_started(run_dir, tell)
        config, samplers = prepare(composed, None if replayed is None else replayed.first.num_simulations)
        if replayed is not None:
            _go_on_drawing(samplers, run_dir, replayed)
        renew_run_dir(composed, run_dir, 1 if replayed is None else replayed.state.launcher_incarnation)
        tell(f"{run_dir}: {_told(replayed)}")
        past = Past(lease=lease, replayed=replayed)
        launch = Launch(config=config, samplers=samplers, composed=composed, run_dir=run_dir, past=past)
        return run_launch(launch, run_dir)


def with_overrides(before: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration of a study with some keys changed.

    Raises:
        ConfigurationError: an override that cannot be read, is none of a single key, names no key, or changes what a
            study that goes on must keep.
    """
    composed = before.copy()
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ConfigurationError(explain_refusal(error)) from None
    for override in parsed:
        key, value = override.key_or_group, override.value()
        if override.is_delete() or override.is_sweep_override():
            raise ConfigurationError(f"{override.input_line!r}: a resumed study takes KEY=VALUE, one value for a key")
        if isinstance(OmegaConf.select(before, key), DictConfig) and not isinstance(value, Mapping):
            raise ConfigurationError(
                f"{override.input_line!r} names a group or a mapping: a resumed study takes single keys, as in "
                "launcher.max_jobs=8"
            )
        try:
            OmegaConf.update(composed, key, value, merge=False, force_add=True)
        except OmegaConfBaseException as error:
            raise ConfigurationError(f"{override.input_line!r} cannot be set: {error.msg or error}") from None
    as_config(composed)
    refuse_changes(changed_keys(before, composed))
    return composed


def _require_study(run_dir: Path) -> None:
    if not (run_dir / CONFIG_FILE).exists():
        raise ConfigurationError(holds_nothing(run_dir))


def _refuse_what_kept_nothing(run_dir: Path) -> None:
    """A training loop that keeps nothing leaves checkpoints that nobody can go on from."""
    manifests = sorted(run_dir.glob("checkpoints/*[0-9]/manifest.json"))
    try:
        kept = msgspec.json.decode(manifests[-1].read_bytes())["checkpoint"]["kept"] if manifests else None
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        return  # damaged: the server ranks look closer, and tell what they skip
    if kept == []:
        raise ConfigurationError(
            f"there is nothing to go on from in {run_dir}: its training loop has kept nothing but the surrogate; let "
            "the loop call stream.keep, above all for its optimizer, in the next study (or remove "
            f"{run_dir / 'checkpoints'} to train anew with the same simulations)"
        )


def _is_over(replayed: Replayed, config: Config) -> bool:
    """Whether a study has completed, and no more is wanted of it than before."""
    state = replayed.state
    return state.outcome == "completed" and config.study.num_simulations <= state.settings.num_simulations


def _report_of(run_dir: Path, replayed: Replayed) -> dict[str, Any]:
    """Of a study whose launcher died between the verdict and its report; the journal has what the server ranks said."""
    seen, incarnation = Observations(), replayed.state.server_incarnation
    for entry in read_journal(run_dir):
        match entry.event:
            case Said(address=ServerRank(rank=rank, incarnation=i), message=ServerFinished() as told):
                if i == incarnation:
                    seen.finish(rank, told)
    return {**make_report(replayed.state, seen, replayed.seconds), "resumed": replayed.num_resumes}


def _go_where_it_was_started(run_dir: Path, tell: Callable[[str], object]) -> None:
    """Relative paths, and the user's own modules, are meant from there."""
    folder = working_directory_of(run_dir)
    if folder == Path.cwd():
        return
    try:
        os.chdir(folder)
    except OSError as error:
        tell(f"the study was started in {folder}, which is not here ({error.strerror}): it goes on in {Path.cwd()}")
        return
    tell(f"the study goes on in {folder}, where it was started")


def _go_on_drawing(samplers: StudySamplers, run_dir: Path, replayed: Replayed) -> None:
    listed = replayed.state.ledger.num_listed
    samplers.go_on({purpose: listed[purpose] for purpose in Purpose}, read_snapshot(run_dir))


def _told(replayed: Replayed | None) -> str:
    """Where the study stands."""
    if replayed is None:
        return "nothing of the study had been started: it begins"
    state = replayed.state
    done, total = state.ledger.num_complete, state.num_simulations + state.num_validation_simulations
    found = state.checkpoint
    since = (
        "from the beginning, as there is no checkpoint"
        if found is None
        else f"from checkpoint {found.number} ({found.batches} batches)"
    )
    return f"the study goes on, {since}; {done} of {total} simulations had completed"
