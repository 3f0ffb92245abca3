"""What the chaos does follows from its seed, and what it finds from what a study has left."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from melissa_like.records import ServerRank
from melissa_like.study import Entry, Journal
from melissa_like.study import events as ev
from tests.chaos.disturb import Hit
from tests.chaos.plan import Kind, failures, setting_of
from tests.chaos.verdict import Verdict, judge

ALL = frozenset(Kind)


def test_a_seed_always_means_the_same_failures() -> None:
    assert list(islice(failures(7, ALL), 100)) == list(islice(failures(7, ALL), 100))
    assert list(islice(failures(7, ALL), 100)) != list(islice(failures(8, ALL), 100))


def test_only_the_wanted_kinds_are_drawn_and_all_of_them() -> None:
    wanted = frozenset({Kind.KILL_SOLVER, Kind.STOP_SERVER})
    assert {failure.kind for failure in islice(failures(1, wanted), 100)} == wanted
    assert {failure.kind for failure in islice(failures(1, ALL), 1000)} == ALL


def test_sixteen_seeds_in_a_row_are_sixteen_settings() -> None:
    assert len({setting_of(seed) for seed in range(16)}) == 16


def left(folder: Path, *, samples: dict[str, int], seen: list[list[int]]) -> Path:
    """A run directory of a study of two simulations of two steps, after one that is held out."""
    run_dir = folder / "study"
    run_dir.mkdir()
    report: dict[str, Any] = {
        "outcome": "completed",
        "reason": "",
        "samples": {"expected": 4, "delivered": 4, "given_up": 0, "lost": 0, "trained_on": 4} | samples,
        "server_losses": ["server rank 0 ended"],
        "simulations": {"restarted": 3},
    }
    (run_dir / "report.json").write_text(json.dumps(report))
    (folder / "seen.json").write_text(json.dumps(seen))
    (folder / "began-0-17").write_text(json.dumps({"at": 1.0, "batches": 0}))
    (folder / "began-0-18").write_text(json.dumps({"at": 15.5, "batches": 40}))
    with Journal(run_dir) as journal:
        journal.append(Entry(at_s=9.0, event=ev.JobEnded(job="job-0001", exit_code=0, message="exit code 0")))
        journal.append(Entry(at_s=10.5, event=ev.ServerEnded(address=ServerRank(0), message="killed by SIGKILL")))
    return run_dir


HITS = [
    Hit(kind=Kind.KILL_SOLVER, at=8.75, victims=("job-0001",), training=True),
    Hit(kind=Kind.KILL_SERVER, at=10.0, victims=("server-0",), training=True),
    Hit(kind=Kind.STOP_SERVER, at=11.0, victims=("server-0",), training=True),
]
WHOLE = [[0, 0, 1], [0, 1, 2], [1, 0, 1], [1, 1, 1]]


def judged(run_dir: Path) -> Verdict:
    return judge(run_dir, run_dir.parent, HITS, num_simulations=2, num_steps=2, resumes=0)


def test_books_that_balance_are_clean(tmp_path: Path) -> None:
    verdict = judged(left(tmp_path, samples={}, seen=WHOLE))
    assert verdict.faults == ()
    assert verdict.hits == {"kill solver": 1, "kill server": 1, "stop server": 1}
    assert not verdict.counts  # two kills are too few
    assert verdict.restarts == (1, 3, 0)
    assert (verdict.notice_s, verdict.train_s) == (0.5, 5.5)


@pytest.mark.parametrize(
    ("samples", "seen", "words"),
    [
        ({"lost": 1, "delivered": 3, "trained_on": 3}, WHOLE, "the books do not balance"),
        ({"trained_on": 3}, WHOLE, "not every delivered sample was trained on"),
        ({"expected": 5, "given_up": 1}, WHOLE, "5 samples were expected instead of 4"),
        ({}, WHOLE[1:], "the history of the weights has 3 samples, 4 were delivered; it lacks 1, as [(0, 0)]"),
        ({}, [*WHOLE, [7, 0, 1]], "samples that nobody asked for: [(7, 0)]"),
    ],
)
def test_whatever_does_not_balance_is_told(
    tmp_path: Path, samples: dict[str, int], seen: list[list[int]], words: str
) -> None:
    found = judged(left(tmp_path, samples=samples, seen=seen)).faults
    assert any(words in fault for fault in found), found


def test_a_study_without_a_report_is_no_clean_one(tmp_path: Path) -> None:
    run_dir = left(tmp_path, samples={}, seen=WHOLE)
    (run_dir / "report.json").unlink()
    assert judged(run_dir).faults == ("there is no report",)
