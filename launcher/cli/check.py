"""`melissa-like check` and `melissa-like doctor`: look before a study runs."""

from collections.abc import Sequence

from melissa_like.launcher.cli.composing import compose_one

__all__ = ["check", "doctor"]


def check(arguments: Sequence[str]) -> int:
    """One simulation of the solver is looked at; the arguments are those behind the command's name."""
    from melissa_like.launcher.check import check_solver

    return compose_one(check_solver, [*arguments, "run_dir=."])


def doctor(arguments: Sequence[str]) -> int:
    """The site is looked at, by small jobs."""
    from melissa_like.launcher.doctor.examination import examine
    from melissa_like.launcher.runs import new_folders

    with new_folders(make=False):
        return compose_one(examine, arguments)
