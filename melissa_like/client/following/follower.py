"""The job of a follower: simulation after simulation, each in a folder of its own."""

import os
import shutil
import sys
from pathlib import Path

from melissa_like.client.following.call import Recipe
from melissa_like.client.following.simulation import Usage, follow_simulation
from melissa_like.client.job import Client
from melissa_like.client.session import Session
from melissa_like.errors import StudyStoppedError

__all__ = ["follow", "root_of"]


def root_of(work_dir: str | None, run_dir: Path) -> Path:
    """The folder of a study in which the folders of its simulations are made.

    Args:
        work_dir: `solver.work_dir`; variables of this process's environment ($TMPDIR) are filled in.
        run_dir: of the study, used where nothing else is said.
    """
    if work_dir is None:
        return run_dir / "work"
    # The path of the run directory tells studies apart that share a disk.
    place = Path(os.path.expandvars(work_dir)).expanduser().absolute()
    return place / "_".join(run_dir.resolve().parts[1:])


def follow(recipe: Recipe, client: Client, root: Path) -> None:
    """Run simulations until the launcher has none left.

    Args:
        recipe: of the study.
        client: not entered yet; of one rank.
        root: folder of the simulations' folders.

    Raises:
        StudyStoppedError: the study ended under way.
        Exception: as `follow_simulation`, after it was reported to the launcher.
    """
    with client:
        while (session := client.next_session()) is not None:
            _follow(recipe, session, root / f"simulation-{session.simulation:06d}.{session.attempt}")


def _follow(recipe: Recipe, session: Session, folder: Path) -> None:
    usage = Usage()
    keeps = recipe.call.keep_files != "never"
    try:
        with session:
            try:
                follow_simulation(recipe, session, folder, usage)
            finally:
                session.tell_usage(peak_bytes=usage.peak_bytes, num_files=usage.num_files, stopped_s=usage.stopped_s)
        keeps = recipe.call.keep_files == "always"
    except StudyStoppedError:
        keeps = recipe.call.keep_files == "always"
        raise
    finally:
        if not keeps:
            _remove(folder)


def _remove(folder: Path) -> None:
    def tell(function: object, path: str, info: object) -> None:
        sys.stderr.write(f"WARNING: {path} is left behind: it cannot be removed ({sys.exc_info()[1]})\n")

    shutil.rmtree(folder, onerror=tell)
