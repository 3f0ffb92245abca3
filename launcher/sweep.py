"""A sweep: `-m` runs studies one after another. Here is what is known of all of them, kept in the sweep's folder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser

from melissa_like.errors import ConfigurationError
from melissa_like.launcher.sweep_file import SWEEP_FILE, SweepRow, figures_of, write_sweep

__all__ = ["Sweep", "plan_of"]


def plan_of(overrides: Sequence[str], loader: ConfigLoader | None = None) -> list[dict[str, str]]:
    """The value of each swept key in each study, in the order in which they will run.

    Args:
        overrides: as they were given.
        loader: knows the files of the groups; only needed for `glob(...)`.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    swept = {override.get_key_element() for override in parsed if override.is_sweep_override()}
    (studies,) = BasicSweeper.split_arguments(parsed, None)
    pairs = [[line.partition("=")[::2] for line in study] for study in studies]
    return [{key.lstrip("+"): value for key, value in study if key in swept} for study in pairs]


class Sweep:
    """The rows of a sweep; each change is written at once, so that nothing is lost when the sweep is ended.

    Args:
        folder: of the sweep; exists.
        plan: what `plan_of` says.

    Raises:
        ConfigurationError: the folder holds a sweep already, or cannot be written.
    """

    def __init__(self, folder: Path, plan: Sequence[Mapping[str, str]]) -> None:
        if (folder / SWEEP_FILE).exists():
            raise ConfigurationError(
                f"run_dir {folder} already holds a sweep ({SWEEP_FILE} is there): choose another run_dir, or remove it"
            )
        self.folder = folder
        self.rows = [SweepRow(number=number, swept=swept, figures={}) for number, swept in enumerate(plan)]
        write_sweep(folder, self.rows)

    def begin(self, number: int, run_dir: Path) -> None:
        """A study begins."""
        relative = run_dir.relative_to(self.folder) if run_dir.is_relative_to(self.folder) else run_dir
        self._change(number, outcome="running", folder=str(relative))

    def end(self, number: int, outcome: str, reason: str, report: Mapping[str, Any] | None) -> None:
        """A study has ended, with a report if it was started."""
        self._change(number, outcome=outcome, reason=reason, figures=figures_of(report or {}))

    def close(self) -> None:
        """No other study will be run.

        Raises:
            ConfigurationError: the folder cannot be written any more; the rows are as they are.
        """
        for row in [row for row in self.rows if row.outcome == "waiting"]:
            self.rows[row.number] = replace(row, outcome="not run", reason="the sweep was ended before")
        write_sweep(self.folder, self.rows)

    def _change(self, number: int, **changes: Any) -> None:
        self.rows[number] = replace(self.rows[number], **changes)
        write_sweep(self.folder, self.rows)
