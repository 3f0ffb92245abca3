"""What `melissa-like run` does with each configuration that Hydra composes: one study, or those of a sweep in turn."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from melissa_like.errors import ConfigurationError, MelissaLikeError
from melissa_like.launcher.exit_codes import INTERRUPTED
from melissa_like.launcher.requeueing import run_again
from melissa_like.launcher.run import plan_study, prepare, run_study
from melissa_like.launcher.rundir import make_new_folder
from melissa_like.launcher.summary import exit_code, print_report
from melissa_like.launcher.sweep import Sweep, plan_of
from melissa_like.launcher.sweep_table import draw_rows, print_rows
from melissa_like.launcher.trial import try_training

__all__ = ["Runs", "new_folders"]

_NEW_FOLDER = "new_folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """How a study ended: the exit code, and what a sweep's table says."""

    code: int
    outcome: str
    reason: str
    report: Mapping[str, Any] | None = None


@contextmanager
def new_folders(*, make: bool) -> Iterator[None]:
    """Let `${new_folder:PATH}` in a configuration stand for a folder that nobody else has.

    At the end the folders above it that were made for it are taken away again, if nothing is in them: the study was
    refused.

    Args:
        make: it is made when it is first asked for, and stays the same in this process; else it is PATH.
    """
    made: dict[str, str] = {}
    above: list[Path] = []

    def resolve(path: str) -> str:
        if path not in made:
            above.extend(folder for folder in Path(path).absolute().parents if make and not folder.exists())
            made[path] = str(make_new_folder(Path(path))) if make else path
        return made[path]

    OmegaConf.register_new_resolver(_NEW_FOLDER, resolve, replace=True)
    try:
        yield
    finally:
        for folder in above:
            with suppress(OSError):
                folder.rmdir()


class Runs:
    """The studies of one command.

    Args:
        overrides: of the command line, without options.
        dry: only print what would be started.

    Attributes:
        code: the exit code of the command so far, the worst of its studies.
    """

    def __init__(self, overrides: Sequence[str], *, dry: bool) -> None:
        self._overrides = overrides
        self._dry = dry
        self._sweep: Sweep | None = None
        self.code = 0

    def run(self, composed: DictConfig) -> None:
        """Run one study and print its report, or why it was not run.

        Raises:
            SystemExit: it was interrupted, which ends a sweep as well, or the sweep's table cannot be written.
        """
        hydra_config = HydraConfig.get()
        sweeping = hydra_config.mode is RunMode.MULTIRUN
        try:
            given = hydra_config.runtime.output_dir if sweeping else composed.run_dir
        except OmegaConfBaseException as error:  # `new_folder` could make none
            sys.stderr.write(f"melissa-like: {error.msg}\n")
            sys.exit(2)
        if not given:  # as of a variable that is not set; it would be the folder where the user works
            sys.stderr.write("melissa-like: run_dir is empty: write the path of a folder, or leave it out\n")
            sys.exit(2)
        run_dir = Path(given).resolve()
        composed.run_dir = str(run_dir)
        if not sweeping or self._dry:
            ended = self._run(composed, run_dir)
            if ended.report is not None:
                run_again(ended.report, run_dir, lambda text: sys.stderr.write(f"melissa-like: {text}\n"))
        else:
            try:
                ended = self._run_in_sweep(composed, run_dir, hydra_config)
            except ConfigurationError as error:
                sys.stderr.write(f"melissa-like: {error}\n")
                sys.exit(2)
        self.code = max(self.code, ended.code)
        if ended.code == INTERRUPTED:
            sys.exit(INTERRUPTED)

    def close(self) -> None:
        """Draw the figure of a sweep, and print its table."""
        if self._sweep is None:
            return
        try:
            self._sweep.close()
            draw_rows(self._sweep.folder, self._sweep.rows)
        except ConfigurationError as error:
            sys.stderr.write(f"melissa-like: {error}\n")
            self.code = max(self.code, 2)
        except (ImportError, OSError) as error:
            sys.stderr.write(f"melissa-like: the figure of the sweep could not be drawn ({error})\n")
        print_rows(self._sweep.rows)
        sys.stdout.write(f"written to: {self._sweep.folder}\n")

    def _run_in_sweep(self, composed: DictConfig, run_dir: Path, hydra_config: HydraConf) -> _Ended:
        """The same, noted in the table of the sweep.

        Raises:
            ConfigurationError: the table cannot be written, or there is one.
        """
        if self._sweep is None:
            given = [f"{key}={value}" for key, value in (hydra_config.sweeper.params or {}).items()]
            plan = plan_of([*given, *self._overrides], GlobalHydra.instance().config_loader())
            self._sweep = Sweep(Path(hydra_config.sweep.dir).resolve(), plan)
        number = hydra_config.job.num
        self._sweep.begin(number, run_dir)
        try:
            ended = self._run(composed, run_dir)
        except BaseException as error:
            self._sweep.end(number, "failed", f"{type(error).__name__}: {error}", None)
            raise
        self._sweep.end(number, ended.outcome, ended.reason, ended.report)
        return ended

    def _run(self, composed: DictConfig, run_dir: Path) -> _Ended:
        try:
            if self._dry:
                config, _ = prepare(composed)
                tried = f"training: {try_training(composed, config)}"
                sys.stdout.write("\n".join([*plan_study(config, run_dir), tried]) + "\n")
                return _Ended(code=0, outcome="not run", reason="a dry run starts nothing")
            report = run_study(composed, run_dir)
        except MelissaLikeError as error:
            sys.stderr.write(f"melissa-like: {error}\n")
            outcome = "refused" if isinstance(error, ConfigurationError) else "failed"
            return _Ended(code=2, outcome=outcome, reason=str(error))
        finally:
            with suppress(OSError):
                run_dir.rmdir()  # a sweep makes the folder even for a study that is refused; one in use is not empty
        print_report(report, run_dir)
        outcome, reason = str(report["outcome"]), str(report["reason"])
        return _Ended(code=exit_code(report), outcome=outcome, reason=reason, report=report)
