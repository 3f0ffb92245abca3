"""What a person reads at the end of a study, or about one: tables on the terminal."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from melissa_like.errors import ConfigurationError
from melissa_like.launcher.exit_codes import INTERRUPTED, OUT_OF_TIME
from melissa_like.launcher.lease import newest_lease
from melissa_like.launcher.rundir import REPORT_FILE, STATUS_FILE, resume_command
from melissa_like.launcher.sweep_file import SWEEP_FILE
from melissa_like.launcher.wall import WALLTIME_IS_NEAR
from melissa_like.monitoring import PlainView, StudySnapshot

__all__ = [
    "exit_code",
    "holds_nothing",
    "is_success",
    "is_to_be_continued",
    "print_report",
    "print_status",
    "read_report",
]

_SIGNS = (REPORT_FILE, STATUS_FILE, SWEEP_FILE)
#: Simulations that were given up and are named on the terminal.
_MOST_FAILED = 3


def read_report(run_dir: Path) -> dict[str, Any]:
    """The report of a finished study.

    Raises:
        ConfigurationError: there is none.
    """
    return _read(run_dir / REPORT_FILE, "the study has not ended")


def _read(path: Path, what_else: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}): {what_else}") from None


def _window(window: Mapping[str, int]) -> str:
    said = f"{window['length']} time steps, {window['stride']} apart, one every {window['hop']}"
    left_out = window["steps_in_no_window"]
    return f"{said}; {left_out} time steps are in none" if left_out else said


def print_report(report: Mapping[str, Any], run_dir: Path) -> None:
    """The report in a dozen lines, one `name: value` each, so that a script can read them as well."""
    lines = [
        ("outcome", report["outcome"]),
        ("reason", report["reason"]),
        ("simulations", _counts(report["simulations"])),
        ("samples", _counts({k: v for k, v in report["samples"].items() if k != "lost"})),
        ("lost", report["samples"]["lost"]),
    ]
    if report["window"]:
        lines.append(("sample", _window(report["window"])))
    if report["resumed"]:
        lines.append(("resumed", "1 time" if report["resumed"] == 1 else f"{report['resumed']} times"))
    lines += [("started again", why.partition("\n")[0]) for why in report["server_losses"]]
    lines += _failed_simulations(report)
    refused = {**report["refused"], **report["refused_control_messages"]}
    if refused:
        lines.append(("refused", ", ".join(f"{count} {reason}" for reason, count in refused.items())))
    if report["training"]:
        lines.append(("training", _training(report["training"])))
    if report["validation"]:
        validation = report["validation"]
        loss = validation["loss"]
        lines.append(("validation loss", "not finite" if loss is None else f"{loss:.4g} (original units)"))
        lines += _errors(validation)
        if len(each := validation["relative_l2_by_field"]) > 1:
            lines.append(("error by field", ", ".join(f"{name} {_percent(error)}" for name, error in each.items())))
    if report["ingest"]["bytes_per_second"]:
        lines.append(("ingest", f"{report['ingest']['bytes_per_second'] / 2**20:.1f} MiB/s"))
    if report["surrogate"] == "incomplete":
        lines.append(("surrogate", "saved as it is: its training did not come to its end"))
    lines += [("problem", problem) for problem in report["problems"]]
    lines.append(("bottleneck", report["stalls"]["bottleneck"]))
    lines.append(("seconds", f"{report['seconds']:.1f}"))
    lines.append(("written to", str(run_dir)))
    if report["outcome"] != "completed":
        lines.append(("go on with", f"{resume_command(run_dir)} ({_from(report['checkpoint'])})"))
    stream = sys.stdout if report["outcome"] != "failed" else sys.stderr
    stream.write("".join(f"{name}: {value}\n" for name, value in lines))
    stream.flush()


def _errors(validation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The error of the held-out samples, and that of the roll-outs."""
    spread = {name: validation[f"relative_l2_{name}"] for name in ("median", "p99", "max")}
    error = f"{_percent(validation['relative_l2'])} (mean relative L2; {_spread(spread)})"
    rollout = validation["rollout"]
    if rollout is None:
        return [("validation error", error)]
    errors, last = rollout["relative_l2"], rollout["by_step"][-1] if rollout["by_step"] else {}
    steps, still = rollout["num_steps"], rollout["num_correlated"]
    lines = [
        ("validation error", f"{error}, of one step{_staying(rollout['persistence'])}"),
        (
            "roll-out error",
            f"{_percent(errors['mean'])} (mean relative L2 over {steps} steps; {_spread(errors)}), "
            f"{_percent(last.get('mean'))} at the last",
        ),
    ]
    if rollout["correlation_time"] is not None:
        lines.append(
            (
                "correlation time",
                f"{rollout['correlation_time']:.4g} of {steps} steps (mean; median "
                f"{rollout['correlation_time_median']:.4g}, least {rollout['correlation_time_min']:.4g}; {still} of "
                f"{rollout['num_fields']} roll-outs stay above 0.8 to their end, which counts as their length)",
            )
        )
    return lines


def _spread(errors: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {_percent(errors[name])}" for name in ("median", "p99", "max"))


def _staying(persistence: float | None) -> str:
    return "" if persistence is None else f"; {_percent(persistence)} if the fields stayed as they are"


def _percent(value: float | None) -> str:
    return "not finite" if value is None else f"{100 * value:.2f} %"


def is_success(report: Mapping[str, Any]) -> bool:
    """Whether the command that ran the study ends with exit code 0: it has not failed, and nothing is amiss."""
    return report["outcome"] != "failed" and not report["problems"]


def exit_code(report: Mapping[str, Any]) -> int:
    """Of a command that ran a study: 0, 1 if it failed or something is amiss, 130 if interrupted, 75 if out of time."""
    reason = str(report["reason"])
    if report["outcome"] == "stopped" and reason.startswith("interrupted"):
        return INTERRUPTED
    if report["outcome"] == "stopped" and reason.startswith(WALLTIME_IS_NEAR):
        return OUT_OF_TIME
    return 0 if is_success(report) else 1


def is_to_be_continued(outcome: str, reason: str) -> bool:
    """Whether a study was stopped in its middle, by a signal or by its walltime."""
    return outcome == "stopped" and reason.startswith(("interrupted", WALLTIME_IS_NEAR))


def _from(checkpoint: Mapping[str, Any] | None) -> str:
    """Where a resumed study begins."""
    if checkpoint is None:
        return "from the beginning, as there is no checkpoint"
    return f"from checkpoint {checkpoint['number']}, {checkpoint['batches']} batches"


def _training(training: Mapping[str, Any]) -> str:
    """Batches, and of a server rank that has said it, how fast they were."""
    told = f"{training['batches']} batches"
    if training["samples_per_second"] is not None:
        told += f", {training['samples_per_second']:.0f} samples/s"
    if training["input_wait_fraction"] is not None:
        told += f", waited for input {100 * training['input_wait_fraction']:.1f} % of the time"
    return told


def _failed_simulations(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A line for each of the first simulations that were given up."""
    failed = report.get("failed_simulations", [])
    lines = []
    for one in failed[:_MOST_FAILED]:
        parameters = ", ".join(f"{name} = {value:.6g}" for name, value in one["parameters"].items())
        first_line = one["reason"].partition("\n")[0]
        lines.append((f"failed simulation {one['simulation']}", f"{parameters}: {first_line}"))
    left = report["simulations"]["failed"] - len(lines)
    if lines and left:
        lines.append(("failed simulations", f"{left} more; the first {len(failed)} of all are in {REPORT_FILE}"))
    return lines


def _counts(group: Mapping[str, Any]) -> str:
    return ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in group.items())


def print_status(run_dir: Path) -> None:
    """One screen about a running or finished study.

    Raises:
        ConfigurationError: the directory holds none.
    """
    if (run_dir / REPORT_FILE).exists():
        print_report(read_report(run_dir), run_dir)
        return
    if not (run_dir / STATUS_FILE).exists():
        raise ConfigurationError(holds_nothing(run_dir))
    status = _read(run_dir / STATUS_FILE, "give the run_dir of a study")
    pid, checkpoint = status.pop("pid"), status.pop("checkpoint")
    lives, where = _launcher_of(run_dir, pid)
    sys.stdout.write(f"launcher: {where} ({os.path.abspath(run_dir)})\n")
    PlainView(sys.stdout).show(StudySnapshot(**status))
    if not lives:
        sys.stdout.write(f"go on with: {resume_command(Path(os.path.abspath(run_dir)))} ({_from(checkpoint)})\n")


def _launcher_of(run_dir: Path, pid: int) -> tuple[bool, str]:
    """Whether the launcher of a study may live, and where."""
    said = newest_lease(run_dir)[1]
    lives = False if said is None or said.given_back else said.holder.lives()
    if lives is None:
        assert said is not None
        return True, f"{said.holder}, if it still lives"
    return lives, f"process {pid} on this machine" if lives else f"process {pid} has ended"


def holds_nothing(run_dir: Path) -> str:
    """What to say about a folder in which there is no study."""
    if not run_dir.is_dir():
        return f"{run_dir} is no folder: give the run_dir of a study or of a sweep"
    below = sorted({file.parent for name in _SIGNS for file in run_dir.glob(f"*/{name}")})
    if not below:
        return f"{run_dir} holds no study, and no sweep: give the run_dir of one"
    return f"{run_dir} holds no study itself: give one of those below it, such as {below[-1]}"
