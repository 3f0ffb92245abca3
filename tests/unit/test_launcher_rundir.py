"""Folders of studies: one that nobody else has, and one that is given and taken."""

import threading
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from melissa_like.config import CONFIG_FILE
from melissa_like.errors import ConfigurationError
from melissa_like.launcher.rundir import create_run_dir, make_new_folder


def test_each_of_many_at_once_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    wanted, made = tmp_path / "runs" / "now", list[Path]()
    barrier = threading.Barrier(8)

    def make() -> None:
        barrier.wait(20.0)
        made.append(make_new_folder(wanted))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    assert sorted(path.name for path in made) == ["now", *(f"now_{number}" for number in range(2, 9))]
    assert all(path.is_dir() for path in made)


def test_a_given_folder_that_another_launcher_takes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not there when it was looked for."""
    (tmp_path / CONFIG_FILE).write_text("the other's")
    monkeypatch.setattr(Path, "exists", lambda path: False)
    with pytest.raises(ConfigurationError, match=f"already holds a study \\({CONFIG_FILE} is there\\)"):
        create_run_dir(OmegaConf.create({}), tmp_path)
    assert (tmp_path / CONFIG_FILE).read_text() == "the other's"
