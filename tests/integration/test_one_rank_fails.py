"""An error on one rank, without `python -m mpi4py`, ends the job in seconds and with its reason.

MPI itself would leave the other ranks waiting for ever.
"""

from pathlib import Path

import pytest

from tests.integration.studies import ROOT, marked, melissa_like

pytestmark = pytest.mark.mpi

PROGRAM = ROOT / "tests" / "plugins" / "faulty_main.py"


MISTAKES = {
    "ragged": ["field 'mark'", "rank 1 sent a list that is no array", "inhomogeneous"],
    "ragged_at_first": ["field 'mark'", "rank 1 sent a list that is no array", "inhomogeneous"],
    "objects": ["field 'mark'", "dtype object"],
    "unreadable": ["MemoryError: no memory for the copy from the device"],
    "unreadable_at_first": ["MemoryError: no memory for the copy from the device"],
    "strange_name": ["rank 1, time step 2: Traceback", "OSError: no file \\udcff"],
    "gap": ["time step 2: the ranks have sent 16 elements of field 'mark', which has 32", "box at (4, 0)"],
    "other_step": ["rank 0 sends time step 3 while rank 1 sends time step 4"],
    "raises_between": ["rank 1, after time step 1: Traceback", "ZeroDivisionError"],
    "leaves_between": ["rank 1, after time step 1: ", "the program ended before session.close()"],
    "forgets_to_close": ["after time step 0: ", "the program ended before session.close()"],
    "no_mapping_at_first": ["a step's fields are a list"],
    "sends_nothing": ["sends time step 0 while another rank has sent its last one"],
    "ends_early": ["sends time step 5 while another rank has sent its last one"],
    "miscounts": ["goodbye after 7 time steps but send was called 6 times"],
    "refused": ["stranger-", "is not a living job of this study"],
    "not_connected": ["/nowhere/connection.txt cannot be read"],
    "cannot_open": ["OSError: too many open files on this node"],
    "survives": ["field 'mark'", "rank 1 sent a str that is no array"],
}
#: One of each kind: an array, memory, a box, an exception, an end, a refusal, a start.
EVERY_DAY = {"ragged", "unreadable", "gap", "raises_between", "ends_early", "refused", "cannot_open"}


@pytest.mark.parametrize(
    "mistake", [name if name in EVERY_DAY else pytest.param(name, marks=pytest.mark.slow) for name in MISTAKES]
)
def test_the_study_ends_with_the_reason(tmp_path: Path, mistake: str) -> None:
    overrides = [override for override in marked(ranks=2) if "solver.solve" not in override]
    overrides.append("launcher.max_failed_starts=1")  # a file that is not seen is waited for, by each start
    ran = melissa_like(tmp_path / "study", *overrides, f"solver.command=[python,{PROGRAM},{mistake}]", timeout_s=60)
    assert ran.code == 1
    assert ran.report["outcome"] == "failed"
    for word in MISTAKES[mistake]:
        assert word in ran.report["reason"]
    assert "another rank of this job failed" not in ran.report["reason"].splitlines()[0]
