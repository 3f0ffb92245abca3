"""What goes wrong between a launcher and a batch scheduler, over a Slurm that is a small program."""

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from melissa_like.errors import ConfigurationError, DeadlineExceededError
from melissa_like.launcher.executors import JobSpec, JobState, Role, log_tail
from melissa_like.plugins import make
from tests.contract.executors import DEADLINE_S, Fifo, Observed, SlurmHarness, observed, shell


@pytest.fixture
def slurm(tmp_path: Path) -> SlurmHarness:
    return SlurmHarness(tmp_path)


@pytest.fixture
def goes_wrong(slurm: SlurmHarness) -> Callable[..., None]:
    def set_faults(**faults: Any) -> None:
        state = slurm.fake / "state"
        state.mkdir(exist_ok=True)
        (state / "faults.new").write_text(json.dumps(faults))
        (state / "faults.new").rename(state / "faults.json")

    return set_faults


@pytest.fixture
def opened(slurm: SlurmHarness, fifo: object) -> Iterator[Observed]:
    with observed(slurm.recipe, uuid.uuid4().hex) as made:
        yield made


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Callable[[str], Fifo]]:
    made: list[Fifo] = []

    def make_fifo(name: str) -> Fifo:
        made.append(Fifo(tmp_path / name))
        return made[-1]

    yield make_fifo
    for each in made:
        each.close()


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., JobSpec]:
    def job(name: str, **what: Any) -> JobSpec:
        return JobSpec(name=name, log=tmp_path / "logs" / f"{name}.log", working_directory=tmp_path, **what)

    return job


@contextmanager
def with_settings(slurm: SlurmHarness, **settings: Any) -> Iterator[Observed]:
    with observed({**slurm.recipe, **settings}, uuid.uuid4().hex) as made:
        yield made


def waits_for(go: Fifo) -> dict[str, Any]:
    return shell(f"read line < {go.path}; exit 5")


# --- the scheduler ----------------------------------------------------------------------------------------------------


def test_a_refusal_is_told_in_the_schedulers_words_with_the_script(slurm, spec):
    with with_settings(slurm, solver={"partition": "no-such"}) as opened:
        opened.submit(spec("a", **shell("exit 0")))
        final = opened.final("a")
    assert (final.state, final.retry) == (JobState.FAILED, False)
    assert "Batch job submission failed: Invalid partition name specified" in final.message
    script = Path(final.message.partition("(the script is ")[2].rstrip(")"))
    assert "#SBATCH --partition=no-such" in script.read_text()


def test_a_refusal_for_now_is_tried_again(opened, spec, goes_wrong):
    goes_wrong(
        sbatch="sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
    )
    opened.submit(spec("a", **shell("exit 0")))
    opened.until(lambda: any("Unable to contact slurm controller" in update.message for update in opened.updates))
    assert opened.updates[-1].state is JobState.QUEUED
    goes_wrong()
    assert opened.final("a").state is JobState.COMPLETED


def test_a_job_is_not_submitted_twice_when_the_answer_was_lost(opened, spec, goes_wrong, slurm, fifo):
    go = fifo("go")
    goes_wrong(sbatch="time out after accepting")
    opened.submit(spec("a", **waits_for(go)))
    opened.active("a")
    go.send("go\n")
    assert opened.final("a").exit_code == 5
    assert len([*(slurm.fake / "state").glob("[0-9]*.json")]) == 1


@pytest.mark.parametrize("fault", ["fail", "hang", "missing"])
def test_jobs_are_not_taken_for_dead_while_the_scheduler_does_not_answer(slurm, spec, goes_wrong, fifo, fault):
    go, started = fifo("go"), fifo("started")
    with with_settings(slurm, command_timeout_s=0.3) as opened:
        opened.submit(spec("a", **shell(f"echo > {started.path}; read line < {go.path}")))
        opened.active("a")
        goes_wrong(squeue=fault)
        if fault == "missing":
            (slurm.fake / "bin" / "squeue").unlink()
        time.sleep(1.0)  # no state is awaited: several questions go without an answer meanwhile
        assert opened.executor.poll() == ()
        go.send("go\n")
        assert opened.final("a").exit_code == 0  # by its end record
        goes_wrong()


def test_a_job_that_the_list_does_not_show_at_first_is_queued(opened, spec, goes_wrong, fifo):
    go = fifo("go")
    goes_wrong(unlisted_s=1.0)
    opened.submit(spec("a", **waits_for(go)))
    opened.active("a")
    go.send("go\n")
    assert opened.final("a").exit_code == 5


def test_why_a_job_waits_is_told_once(opened, spec, goes_wrong):
    goes_wrong(pending="Resources")
    opened.submit(spec("a", **shell("exit 0")))
    opened.until(lambda: any(update.message == "Resources" for update in opened.updates))
    goes_wrong(pending="Priority")
    opened.until(lambda: any(update.message == "Priority" for update in opened.updates))
    goes_wrong()
    opened.final("a")
    waits = [update.message for update in opened.updates if update.state is JobState.QUEUED]
    assert (waits.count("Resources"), waits.count("Priority")) == (1, 1)


def test_find_does_not_take_silence_for_an_empty_list(slurm, goes_wrong, monkeypatch):
    monkeypatch.setattr("melissa_like.launcher.executors.batch.executor._FIND_S", 0.5)
    with with_settings(slurm) as opened:
        goes_wrong(squeue="fail")
        with pytest.raises(DeadlineExceededError, match="Unable to contact slurm controller"):
            opened.executor.find("study")
        goes_wrong()


def test_where_there_is_no_scheduler_nothing_is_started(slurm, tmp_path):
    recipe = {**slurm.recipe, "scheduler": {**slurm.recipe["scheduler"], "commands": str(tmp_path)}}
    executor = make(recipe, "launcher.executor", on_change=lambda: None)
    assert f"there is no {tmp_path}/sbatch here" in executor.traits.refusal
    assert make(slurm.recipe, "launcher.executor", on_change=lambda: None).traits.refusal == ""


def test_a_submit_command_that_has_gone_is_a_refusal(opened, spec, slurm):
    (slurm.fake / "bin" / "sbatch").unlink()
    opened.submit(spec("a", **shell("exit 0")))
    final = opened.final("a")
    assert (final.state, final.retry) == (JobState.FAILED, False)
    assert "bin/sbatch" in final.message


# --- how jobs end -----------------------------------------------------------------------------------------------------


def test_a_lost_node_is_told_apart_from_a_crash(opened, spec, goes_wrong, fifo):
    opened.submit(spec("a", **waits_for(fifo("go"))))
    opened.active("a")
    goes_wrong(node={"state": "NODE_FAIL", "reason": "NodeDown"})
    final = opened.final("a")
    goes_wrong()
    assert (final.state, final.by_machine) == (JobState.FAILED, True)
    assert "Slurm says NODE_FAIL (NodeDown) on n1" in final.message


def test_a_job_that_somebody_else_cancels_says_so(opened, spec, slurm, fifo):
    go, started = fifo("go"), fifo("started")
    opened.submit(spec("a", **shell(f"echo > {started.path}; read line < {go.path}")))
    started.receive()
    os.spawnl(os.P_WAIT, slurm.fake / "bin" / "scancel", "scancel", "1")
    final = opened.final("a")
    assert (final.state, final.by_machine) == (JobState.FAILED, True)
    assert final.message == "killed by SIGTERM; Slurm says CANCELLED on n1 (job 1)"


def test_what_the_lines_before_the_start_print_is_quoted_when_the_job_never_starts(slurm, spec):
    with with_settings(slurm, solver={"setup": ["echo no such module >&2", "exit 3"]}) as opened:
        opened.submit(spec("a", **shell("exit 0")))
        final = opened.final("a")
    assert (final.state, final.by_machine) == (JobState.FAILED, False)
    assert ".0.out ends with: no such module" in final.message


def test_what_the_lines_before_the_start_complain_of_is_quoted_when_the_job_fails(slurm, spec):
    with with_settings(slurm, solver={"setup": ["module load nothing"]}) as opened:
        opened.submit(spec("a", **shell("exit 3")))
        final = opened.final("a")
    assert final.message.startswith("exit code 3; ")
    assert "module: command not found" in final.message


# --- what a batch job is ----------------------------------------------------------------------------------------------


def test_several_jobs_are_one_array(opened, spec, slurm):
    names = [f"job-{index}" for index in range(4)]
    handles = opened.submit(*(spec(name, **shell(f"exit {index}")) for index, name in enumerate(names)))
    assert [opened.final(name).exit_code for name in names] == [0, 1, 2, 3]
    assert len({handle.partition("/")[0] for handle in handles.values()}) == 1
    assert sorted(path.stem for path in (slurm.fake / "state").glob("[0-9]*.json")) == ["1_0", "1_1", "1_2", "1_3"]


def test_an_array_for_which_there_is_no_room_is_submitted_in_parts(opened, spec, slurm, goes_wrong, monkeypatch):
    monkeypatch.setattr("melissa_like.launcher.executors.batch.room._GROW_S", 0.5)
    goes_wrong(most_jobs=3)
    names = [f"job-{index}" for index in range(10)]
    opened.submit(*(spec(name, **shell(f"exit {index}")) for index, name in enumerate(names)))
    assert [opened.final(name).exit_code for name in names] == [*range(10)]
    scripts = sorted(path.name for path in (slurm.fake.parent / "run" / "jobs").glob("*.sh"))
    assert len(scripts) > 2
    assert len([*(slurm.fake.parent / "run" / "jobs").glob("*.json")]) == 1


def gang(spec: Callable[..., JobSpec], *texts: str) -> list[JobSpec]:
    return [spec(f"rank-{rank}", role=Role.SERVER, gang="server", **shell(text)) for rank, text in enumerate(texts)]


def test_the_ranks_of_a_gang_are_one_batch_job_with_a_log_each(opened, spec, slurm):
    specs = gang(spec, "echo zero", "echo one; exit 4")
    opened.submit(*specs)
    assert [opened.final(spec.name).exit_code for spec in specs] == [0, 4]
    assert [log_tail(spec.log) for spec in specs] == ["zero", "one"]
    assert [path.stem for path in (slurm.fake / "state").glob("[0-9]*.json")] == ["1"]


def test_a_rank_that_fails_leaves_the_others_their_time(opened, spec, fifo):
    """What its end means the launcher decides: the others may still have to say something."""
    go = fifo("go")
    opened.submit(*gang(spec, "exit 1", f"read line < {go.path}"))
    assert opened.final("rank-0").exit_code == 1
    assert [update.state for update in opened.of("rank-1")] == [JobState.ACTIVE]
    go.send("go\n")
    assert opened.final("rank-1").exit_code == 0


def test_a_rank_that_is_lost_without_a_word_ends_its_gang(opened, spec, fifo):
    started, go = fifo("started"), fifo("go")
    run = f"echo $PPID > {started.path}; read line < {go.path}"
    opened.submit(*gang(spec, run, f"read line < {go.path}"))
    os.kill(int(started.receive()), 9)
    finals = [opened.final(name) for name in ("rank-0", "rank-1")]
    assert [final.state for final in finals] == [JobState.FAILED, JobState.FAILED]
    assert "ended without an end record" in finals[1].message


def test_a_gang_of_which_one_rank_cannot_start_is_refused_as_a_whole(opened, spec, slurm, tmp_path):
    can, cannot = gang(spec, "echo zero", "echo one")
    cannot = replace(cannot, working_directory=tmp_path / "nowhere")
    assert opened.submit(can, cannot) == {}
    for name in ("rank-0", "rank-1"):
        final = opened.final(name)
        assert (final.state, final.retry) == (JobState.FAILED, False)
        assert "nowhere" in final.message
    assert not [*(slurm.fake / "state").glob("[0-9]*.json")]


def test_canceling_a_rank_ends_its_gang(opened, spec, fifo):
    go = fifo("go")
    handles = opened.submit(*gang(spec, f"read line < {go.path}", f"read line < {go.path}"))
    opened.active("rank-1")
    opened.executor.cancel(handles["rank-0"])
    assert opened.final("rank-0").state is JobState.CANCELED
    assert opened.final("rank-1").state.is_final


def test_the_site_sets_environment_container_and_python(slurm, spec, tmp_path):
    container = tmp_path / "contain"
    container.write_text('#!/bin/sh\necho contained\nexec "$@"\n')
    container.chmod(0o755)
    site = {"environment": {"OMP_PLACES": "cores"}, "container": str(container), "setup": ["export LOADED=yes"]}
    with with_settings(slurm, solver=site) as opened:
        job = spec("a", **shell('echo "$OMP_PLACES $LOADED $OMP_NUM_THREADS"'), environment={"OMP_NUM_THREADS": "2"})
        opened.submit(job)
        opened.final("a")
    assert log_tail(job.log) == "contained\ncores yes 2"


def test_an_unknown_setting_is_answered_with_the_nearest(slurm):
    with pytest.raises(ConfigurationError, match=r"launcher\.executor\.solver has 'partitoin'.*nearest: partition"):
        make({**slurm.recipe, "solver": {"partitoin": "x"}}, "launcher.executor", on_change=threading.Event().set)


def test_the_environment_of_a_job_stands_in_no_script(opened, spec, slurm, tmp_path):
    secret = "s3cret-token"
    opened.submit(spec("a", **shell("exit 0"), environment={"TOKEN": secret}))
    opened.final("a")
    scripts = [*(tmp_path / "run" / "jobs").glob("*.sh")]
    assert len(scripts) == 1
    assert secret not in scripts[0].read_text()
    assert (tmp_path / "run" / "jobs").stat().st_mode & 0o077 == 0


def test_close_ends_jobs_that_wait(slurm, spec, goes_wrong):
    goes_wrong(pending="Resources")
    with with_settings(slurm) as opened:
        opened.submit(spec("a", **shell("exit 0")))
        opened.until(lambda: bool(opened.updates))
        opened.executor.close(DEADLINE_S)
        assert opened.executor.poll()[-1].state is JobState.CANCELED
    goes_wrong()
