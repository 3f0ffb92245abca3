"""`melissa-like check`: one simulation of the configured solver against a receiver that looks at everything.

It is a study of one simulation, launched as every other; only its server rank is another, which measures and trains
nothing.
"""

import shutil
import sys
import time
from copy import deepcopy
from pathlib import Path
from tempfile import mkdtemp

from omegaconf import DictConfig

from melissa_like.config import Config, shown
from melissa_like.launcher.exit_codes import INTERRUPTED
from melissa_like.launcher.findings import print_findings
from melissa_like.launcher.run import Launch, prepare
from melissa_like.launcher.trial import try_training
from melissa_like.protocol.control import Followed
from melissa_like.protocol.reports import Findings

__all__ = ["check_solver"]


def check_solver(composed: DictConfig) -> int:
    """Run one simulation, print what was found; 0 if the solver keeps its contract, else what it printed is kept.

    The training is tried before, as the study's server rank 0 would.

    Raises:
        ConfigurationError: the configuration cannot work.
    """
    configured = deepcopy(composed)
    sys.stdout.write(f"training: {try_training(configured, prepare(configured)[0])}\n")
    composed.study.num_simulations = 1
    composed.study.num_validation_simulations = 0
    composed.launcher.num_server_ranks = 1
    composed.launcher.max_attempts = 1
    composed.launcher.max_failed_starts = 1
    composed.launcher.max_failed_fraction = 0.0
    composed.buffer.watermark = None
    config, samplers = prepare(composed)
    started_at = time.time()
    folder = Path(mkdtemp(prefix="melissa-like-check-"))
    keeps = False
    try:
        with Launch(config=config, samplers=samplers, composed=composed, run_dir=folder, checks=True) as launch:
            launch.run()
            outcome, reason, findings = launch.state.outcome, launch.state.reason, launch.findings
            followed = launch.followed
        if outcome == "stopped":
            sys.stderr.write(f"melissa-like check: {reason}\n")
            return INTERRUPTED
        if findings is not None:
            print_findings(config, findings, started_at)
        if followed is not None:
            sys.stdout.write(f"{_folder(followed)}\n")
        keeps = outcome != "completed" or findings is None
        if outcome != "completed" or findings is None:
            sys.stderr.write(f"melissa-like check: failed: {reason}\nall that was printed is kept in {folder}/logs\n")
            return 1
        return _judge_values(config, findings)
    finally:
        if not keeps:
            shutil.rmtree(folder)


def _judge_values(config: Config, findings: Findings) -> int:
    """The verdict on a solver that has sent every step: are its values fit to be trained on?"""
    bad = [found for found in findings.fields if found.not_finite]
    if not bad:
        sys.stdout.write("the solver keeps its contract: every step covered once, all values finite\n")
        return 0
    named = ", ".join(f"field {f.name!r} has {f.not_finite}, first at time step {f.first_bad_step}" for f in bad)
    if config.solver.not_finite != "fail_simulation":
        sys.stdout.write(
            f"the solver keeps its contract: every step covered once; values that are not finite: {named} "
            f"(solver.not_finite={config.solver.not_finite})\n"
        )
        return 0
    sys.stderr.write(
        f"melissa-like check: failed: the solver sent values that are not finite: {named}; see solver.not_finite\n"
    )
    return 1


def _folder(followed: Followed) -> str:
    """What a program that is followed has left."""
    files = f"{followed.num_files} file{'' if followed.num_files == 1 else 's'}"
    told = f"the program left {files} in its folder, which held {shown(followed.peak_bytes)} at the most"
    if followed.stopped_s > 0:
        told += f"; it was stopped for {followed.stopped_s:.2f} s in all (solver.max_pending_bytes)"
    return told
