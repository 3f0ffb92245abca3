"""What `melissa-like run` does with each configuration that Hydra composes: one study, or the studies of a sweep.

The studies of a sweep are all composed before the first one runs: a mistake in the last one is told at once.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from melissa_like.errors import MelissaLikeError
from melissa_like.launcher.exit_codes import INTERRUPTED
from melissa_like.launcher.lease import take_lease
from melissa_like.launcher.preview import plan_study
from melissa_like.launcher.requeueing import run_again
from melissa_like.launcher.run import prepare, run_study
from melissa_like.launcher.rundir import make_new_folder
from melissa_like.launcher.summary import exit_code, print_report
from melissa_like.launcher.sweep import new_sweep
from melissa_like.launcher.sweep_end import close_sweep
from melissa_like.launcher.sweep_file import SWEEP_FILE
from melissa_like.launcher.sweep_plan import keep_plan, plan_of, resolved, studies_at_a_time
from melissa_like.launcher.sweep_run import run_studies
from melissa_like.launcher.trial import try_training

__all__ = ["Runs", "new_folders"]

_NEW_FOLDER = "new_folder"
_MADE_BY_HYDRA = "multirun.yaml"


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
            _remove_empty(folder)


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
        self._swept: list[tuple[DictConfig, Path]] = []
        self._plan: list[dict[str, str]] = []
        self._folder = Path()
        self.code = 0

    def run(self, composed: DictConfig) -> None:
        """Run one study and print its report, or why it was not run; one of a sweep is kept for `finish`.

        Raises:
            SystemExit: it was interrupted, or has no folder.
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
        if sweeping:
            self._keep(composed, run_dir, hydra_config)
        else:
            self._note(self._run(composed, run_dir))

    def finish(self) -> None:
        """Run the studies of a sweep, draw its figure, and print its table; nothing if there is none.

        Raises:
            SystemExit: a study was interrupted, which ends the sweep as well.
        """
        if self._dry:
            for (composed, run_dir), swept in zip(self._swept, self._plan, strict=True):
                sys.stdout.write(f"study {', '.join(f'{key}={value}' for key, value in swept.items())}\n")
                self._note(self._run(composed, run_dir))
        elif self._swept:
            try:
                self._note(self._sweep())
            except MelissaLikeError as error:
                sys.stderr.write(f"melissa-like: {error}\n")
                self._note(2)

    def close(self) -> None:
        """Take away what Hydra has made for a sweep, as far as nothing was run there."""
        for _, run_dir in self._swept:
            _remove_empty(run_dir)
        if self._swept and not (self._folder / SWEEP_FILE).exists():
            (self._folder / _MADE_BY_HYDRA).unlink(missing_ok=True)
            _remove_empty(self._folder)

    def _keep(self, composed: DictConfig, run_dir: Path, hydra_config: HydraConf) -> None:
        if not self._swept:
            params: Mapping[str, str] = hydra_config.sweeper.params or {}
            given = [f"{key}={value}" for key, value in params.items()]
            self._plan = plan_of([*given, *self._overrides], GlobalHydra.instance().config_loader())
            self._folder = Path(hydra_config.sweep.dir).resolve()
        self._swept.append((resolved(composed), run_dir))

    def _sweep(self) -> int:
        """Raises what `run_studies` does; or `LeaseError` and `ConfigurationError`: another one uses the folder."""
        folders = [os.path.relpath(run_dir, self._folder) for _, run_dir in self._swept]
        configs = [composed for composed, _ in self._swept]
        self._folder.mkdir(parents=True, exist_ok=True)
        with take_lease(self._folder) as lease:
            sweep = new_sweep(self._folder, list(zip(self._plan, folders, strict=True)))
            keep_plan(self._folder, configs)
            due, at_a_time = range(len(configs)), studies_at_a_time(configs[0])
            code = run_studies(sweep, due, at_a_time=at_a_time, overrides=(), keep_lease=lease.keep)
            return max(code, close_sweep(sweep))

    def _note(self, code: int) -> None:
        self.code = max(self.code, code)
        if code == INTERRUPTED:
            sys.exit(INTERRUPTED)

    def _run(self, composed: DictConfig, run_dir: Path) -> int:
        try:
            if self._dry:
                config, _ = prepare(composed, starts_here=False)
                tried = f"training: {try_training(composed, config)}"
                sys.stdout.write("\n".join([*plan_study(config, run_dir), tried]) + "\n")
                return 0
            report = run_study(composed, run_dir)
        except MelissaLikeError as error:
            sys.stderr.write(f"melissa-like: {error}\n")
            return 2
        finally:
            _remove_empty(run_dir)  # it was made for a study that is refused
        print_report(report, run_dir)
        run_again(report, run_dir, lambda text: sys.stderr.write(f"melissa-like: {text}\n"))
        return exit_code(report)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # one in use is not empty
        folder.rmdir()
