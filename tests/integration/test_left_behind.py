"""What an earlier run has left in the same place is harmless: nothing of it is taken for this study's."""

from pathlib import Path

from tests.integration.studies import await_that, melissa_like, running
from tests.integration.told import told, trained


def left_by_a_killed_study(folder: Path, run_dir: Path) -> None:
    """A study of other simulations in the same place, whose launcher was killed in the middle of it."""
    folder.mkdir()
    with running(run_dir, *told(folder, simulations=40, pause_s=0.05), "buffer=fifo") as launcher:
        await_that(lambda: any(folder.glob("attempts-3")))
        launcher.kill()


def test_a_run_directory_of_a_killed_study_is_not_overwritten_but_may_be_emptied(tmp_path: Path) -> None:
    run_dir = tmp_path / "study"
    left_by_a_killed_study(tmp_path / "earlier", run_dir)
    study = [*told(tmp_path, simulations=3), "buffer=fifo"]
    refused = melissa_like(run_dir, *study)
    assert refused.code == 2
    assert "already holds a study" in refused.err
    for name in ("journal.jsonl", "config.yaml"):  # whoever removes these and forgets the rest
        (run_dir / name).unlink()
    left = sorted(path.name for path in run_dir.iterdir())
    assert {"connection.txt", "logs", "status.json"} <= set(left)
    ran = melissa_like(run_dir, *study)
    assert ran.code == 0, ran.err
    samples = ran.report["samples"]
    assert (samples["delivered"], samples["trained_on"], samples["lost"], samples["rejected"]) == (18, 18, 0, 0)
    assert sorted(key for key, _ in trained(tmp_path)) == [(number, step) for number in range(3) for step in range(6)]
