"""One contract for all executors, then what only processes can show, then what is of each alone.

Another executor joins the suite by adding its harness to `executors.HARNESSES`.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from melissa_like.errors import DeadlineExceededError
from melissa_like.launcher.executors import (
    Executor,
    FoundJob,
    InlineExecutor,
    JobSpec,
    JobState,
    JobUpdate,
    LocalExecutor,
    log_tail,
)
from melissa_like.plugins import make
from tests.contract.executors import (
    DEADLINE_S,
    GRACE_S,
    HARNESSES,
    LEAVE_SOMETHING,
    PROCESSES,
    Fifo,
    Harness,
    InlineHarness,
    LocalHarness,
    Observed,
    observed,
    shell,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=HARNESSES)
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Harness:
    return HARNESSES[request.param](tmp_path)  # type: ignore[no-any-return]


@pytest.fixture
def study() -> str:
    """Another one for every test: what one leaves is not found by the next."""
    return uuid.uuid4().hex


@pytest.fixture
def opened(harness: Harness, study: str, fifo: object) -> Iterator[Observed]:  # closes before the pipes do
    with observed(harness.recipe, study) as made:
        yield made


@pytest.fixture
def local(tmp_path: Path, study: str, fifo: object) -> Iterator[Observed]:
    with observed(LocalHarness(tmp_path).recipe, study) as made:
        yield made


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., JobSpec]:
    def job(name: str, **what: Any) -> JobSpec:
        where = {"log": tmp_path / "logs" / f"{name}.log", "working_directory": tmp_path}
        return JobSpec(name=name, **{**where, **what})

    return job


@contextmanager
def watched(pid: int) -> Iterator[Callable[[], bool]]:
    """Yields a function that waits until the process has ended (a zombie has) and says whether it did in time."""
    descriptor = os.pidfd_open(pid)
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    try:
        yield lambda: bool(poller.poll(DEADLINE_S * 1000))
    finally:
        os.close(descriptor)


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Callable[[str], Fifo]]:
    made: list[Fifo] = []

    def make(name: str) -> Fifo:
        made.append(Fifo(tmp_path / name))
        return made[-1]

    yield make
    for each in made:
        each.close()


#: Ignores SIGTERM, is in a session of its own as an MPI rank is, then writes its process id.
DEAF = (
    "import os, pathlib, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.getpgrp() == os.getpid() "
    "or os.setsid(); pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
)


def deaf(started: Fifo) -> str:
    """Shell text that runs such a process."""
    return f'{sys.executable} -I -S -c "{DEAF}" {started.path}'


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie, which has ended but was not collected yet."""
    try:
        return stat_of(pid)[0] != "Z"
    except FileNotFoundError:
        return False


def parent_of(pid: int) -> int:
    return int(stat_of(pid)[1])


def stat_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


# --- every executor -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "state"), [(0, JobState.COMPLETED), (3, JobState.FAILED)])
def test_the_final_update_tells_the_exit_code(opened, harness, spec, code, state):
    opened.submit(spec("a", **harness.exits(code)))
    assert opened.final("a") == JobUpdate(name="a", state=state, exit_code=code, message=f"exit code {code}")


def test_several_jobs_are_submitted_at_once_and_each_has_a_handle(opened, harness, spec):
    names = [f"job-{index}" for index in range(30)]
    handles = opened.submit(*(spec(name, **harness.exits(index % 3)) for index, name in enumerate(names)))
    assert sorted(handles) == sorted(names)
    assert len(set(handles.values())) == len(names)
    for name in names:
        opened.final(name)
    opened.executor.close(DEADLINE_S)
    opened.updates.extend(opened.executor.poll())
    for index, name in enumerate(names):
        active, final = opened.of(name)
        assert (active.state, active.exit_code, active.message) == (JobState.ACTIVE, None, "")
        assert (final.exit_code, final.retry) == (index % 3, None)


def test_poll_does_not_wait_for_a_job(opened, harness, spec, fifo):
    opened.submit(spec("a", **harness.runs_until_canceled(fifo("started").path)))
    opened.active("a")
    assert opened.executor.poll() == ()


def test_a_canceled_job_ends_as_canceled(opened, harness, spec, fifo):
    started = fifo("started")
    handles = opened.submit(spec("a", **harness.runs_until_canceled(started.path)))
    started.receive()
    opened.executor.cancel(handles["a"])
    opened.executor.cancel(handles["a"])
    final = opened.final("a")
    assert (final.state, final.message) == (JobState.CANCELED, "canceled")


def test_canceling_an_ended_or_unknown_job_does_nothing(opened, harness, spec):
    handles = opened.submit(spec("a", **harness.exits(0)))
    opened.final("a")
    opened.executor.cancel(handles["a"])
    opened.executor.cancel("never submitted")
    opened.executor.close(DEADLINE_S)
    assert opened.executor.poll() == ()


def test_canceling_one_job_leaves_the_others(opened, harness, spec, fifo):
    started = fifo("started")
    handles = opened.submit(*(spec(name, **harness.runs_until_canceled(started.path)) for name in "ab"))
    opened.active("a")
    opened.active("b")
    opened.executor.cancel(handles["a"])
    opened.final("a")
    assert [update.state for update in opened.of("b")] == [JobState.ACTIVE]


def test_close_ends_every_job_and_poll_tells_it(opened, harness, spec, fifo, study):
    started = fifo("started")
    opened.submit(*(spec(name, **harness.runs_until_canceled(started.path)) for name in "abc"))
    opened.executor.close(DEADLINE_S)
    finals = {update.name: update.state for update in opened.executor.poll() if update.state.is_final}
    assert finals == dict.fromkeys("abc", JobState.CANCELED)
    opened.executor.close(DEADLINE_S)
    with observed(harness.recipe, study) as another:
        assert another.executor.find(study) == ()


def test_the_log_is_appended_to_and_quoted(opened, harness, spec, tmp_path):
    log = tmp_path / "logs" / "a.log"
    log.parent.mkdir()
    log.write_text("an earlier attempt\n")
    opened.submit(spec("a", **harness.fails_with("the solver diverged")))
    assert opened.final("a").state is JobState.FAILED
    assert log.read_text().startswith("an earlier attempt\n")
    assert "the solver diverged" in log_tail(log, 5)  # `srun` adds words of its own


def test_a_name_is_taken_until_the_end_of_its_job_was_told(opened, harness, spec, fifo):
    job = spec("a", **harness.runs_until_canceled(fifo("started").path))
    with pytest.raises(ValueError, match="'a' was submitted before"):
        opened.submit(job, job)
    handles = opened.submit(job)
    with pytest.raises(ValueError, match="'a' was submitted before"):
        opened.submit(spec("b", **harness.exits(0)), job)
    opened.executor.cancel(handles["a"])
    opened.final("a")
    again = opened.submit(spec("a", **harness.exits(0)), spec("b", **harness.exits(0)))
    opened.final("b")
    assert again["a"] != handles["a"]


def test_only_an_open_executor_takes_jobs_that_have_something_to_run(harness, spec, study):
    executor: Executor = make(harness.recipe, "launcher.executor", on_change=lambda: None)
    job = spec("a", **harness.exits(0))
    with pytest.raises(ValueError, match="not open"):
        executor.submit([job], study)
    with executor, pytest.raises(ValueError, match="no c"):
        executor.submit([spec("a")], study)
    for use in (lambda: executor.submit([job], study), lambda: executor.find(study)):
        with pytest.raises(ValueError, match="not open"):
            use()


def test_a_log_that_cannot_be_written_is_a_refusal(opened, harness, spec, tmp_path):
    (tmp_path / "file").touch()
    refused = spec("a", log=tmp_path / "file" / "a.log", **harness.exits(0))
    assert list(opened.submit(refused, spec("b", **harness.exits(0)))) == ["b"]
    final = opened.final("a")
    assert (final.state, final.exit_code, final.retry) == (JobState.FAILED, None, False)
    assert str(tmp_path / "file") in final.message
    assert [update.state for update in opened.of("a")] == [JobState.FAILED]
    assert opened.final("b").state is JobState.COMPLETED


def test_another_executor_finds_what_runs_and_ends_it(opened, harness, spec, fifo, study):
    started = fifo("started")
    run = harness.runs_until_canceled(started.path)
    handles = opened.submit(*(spec(name, **run) for name in "abc"))
    other = opened.executor.submit([spec("d", **run)], "another study")
    for name in "abcd":
        opened.active(name)
    with observed(harness.recipe, study) as another:
        found = another.executor.find(study)
        assert {job.name: job.handle for job in found} == handles
        assert {job.state for job in found} == {JobState.ACTIVE}
        assert another.executor.find(study) == found
        another.executor.cancel(handles["a"])
        assert another.final("a").state is JobState.CANCELED
        opened.final("a")
        assert sorted(job.name for job in another.executor.find(study)) == ["b", "c"]
        assert not [update for name in "bcd" for update in another.of(name)]
        opened.executor.cancel(handles["b"])
        another.final("b")  # whatever ended it: it tells of what it found
        with pytest.raises(ValueError, match="'c' was submitted before"):
            another.submit(spec("c", **harness.exits(0)))
    assert opened.final("c").state.is_final  # found, so closed with the others
    assert [update.state for update in opened.of("d")] == [JobState.ACTIVE]
    assert [job.handle for job in opened.executor.find("another study")] == [other["d"]]


def test_a_handle_is_enough_to_cancel(opened, harness, spec, fifo, study):
    handles = opened.submit(spec("a", **harness.runs_until_canceled(fifo("started").path)))
    opened.active("a")
    with observed(harness.recipe, study) as another:
        another.executor.cancel(handles["a"])
        assert opened.final("a").state.is_final
        assert another.executor.poll() == ()


# --- every executor of processes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("harness", PROCESSES, indirect=True)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_killed_job_fails_and_names_the_signal(opened, harness, spec, fifo, number):
    started = fifo("started")
    opened.submit(spec("a", **harness.runs_until_canceled(started.path)))
    os.kill(int(started.receive()), number)
    message = f"killed by {number.name}"
    assert opened.final("a") == JobUpdate(name="a", state=JobState.FAILED, exit_code=None, message=message)


@pytest.mark.parametrize("harness", PROCESSES, indirect=True)
@pytest.mark.parametrize("command", ["no-such-solver", "./no-such-solver", "/no/such/solver"])
def test_a_missing_command_is_a_refusal(opened, spec, command):
    assert opened.submit(spec("a", command=(command,))) == {}
    final = opened.final("a")
    assert (final.state, final.retry) == (JobState.FAILED, False)
    assert f"'{command}'" in final.message


@pytest.mark.parametrize("harness", PROCESSES, indirect=True)
def test_a_missing_directory_is_a_refusal(opened, spec, tmp_path):
    assert opened.submit(spec("a", command=("true",), working_directory=tmp_path / "none")) == {}
    final = opened.final("a")
    assert (final.state, final.retry) == (JobState.FAILED, False)
    assert str(tmp_path / "none") in final.message


@pytest.mark.parametrize("harness", PROCESSES, indirect=True)
def test_a_job_gets_its_environment_and_directory(opened, spec, tmp_path, monkeypatch):
    monkeypatch.setenv("INHERITED", "kept")
    job = spec("a", **shell('echo "$OMP_NUM_THREADS $INHERITED"; pwd -P'), environment={"OMP_NUM_THREADS": "1"})
    opened.submit(job)
    opened.final("a")
    assert log_tail(job.log) == f"1 kept\n{tmp_path.resolve()}"


@pytest.mark.parametrize("harness", PROCESSES, indirect=True)
def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(opened, spec, fifo):
    started = fifo("started")
    handles = opened.submit(spec("a", **shell(f"exec {deaf(started)}")))
    pid = int(started.receive())
    opened.executor.cancel(handles["a"])
    assert opened.final("a").state is JobState.CANCELED
    assert not is_alive(pid)


#: Submits a job and says its handle; then it is killed.
MAKER = """
import json, sys, threading
from pathlib import Path
from melissa_like.launcher.executors import JobSpec
from melissa_like.plugins import make

recipe, study, command, submitted = json.loads(sys.argv[1])
job = JobSpec(name="a", command=tuple(command), log=Path("a.log"), working_directory=Path.cwd())
with make(recipe, "launcher.executor", on_change=lambda: None) as executor:
    Path(submitted).write_text(executor.submit([job], study)["a"])
    threading.Event().wait(60)
"""


@contextmanager
def maker_of(recipe: dict[str, Any], study: str, command: tuple[str, ...], submitted: Fifo) -> Iterator[Any]:
    """Another process that submits; killed in the end, if it was not before."""
    told = json.dumps([recipe, study, command, str(submitted.path)])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen((sys.executable, "-c", MAKER, told), cwd=submitted.path.parent, env=environment) as maker:
        try:
            yield maker
        finally:
            maker.kill()


@pytest.mark.parametrize("harness", LEAVE_SOMETHING, indirect=True)
def test_what_a_dead_launcher_has_left_is_found_and_ended(harness, fifo, study):
    submitted, started = fifo("submitted"), fifo("started")
    command = harness.runs_until_canceled(started.path)["command"]
    with maker_of(harness.recipe, study, command, submitted) as maker, ExitStack() as stack:
        handle, main = submitted.receive(), int(started.receive())
        has_ended = stack.enter_context(watched(main))
        above = parent_of(main)
        os.kill(above, signal.SIGSTOP)  # a guard of the LocalExecutor shall not see the end of the launcher yet
        maker.kill()
        maker.wait(DEADLINE_S)
        with observed(harness.recipe, study) as fresh:
            assert fresh.executor.find("another study") == ()
            assert fresh.executor.find(study) == (FoundJob(name="a", handle=handle, state=JobState.ACTIVE),)
            assert is_alive(main)
            fresh.executor.cancel(handle)
            os.kill(above, signal.SIGCONT)
            assert fresh.final("a").state is JobState.CANCELED
            assert not is_alive(main)
            assert fresh.executor.find(study) == ()
        assert has_ended()


@pytest.mark.parametrize("harness", ["spool", "slurm"], indirect=True)
def test_batch_jobs_go_on_without_their_launcher(harness, fifo, study):
    """A fresh executor waits for them, and the exit code is known."""
    submitted, started, go = fifo("submitted"), fifo("started"), fifo("go")
    recipe = harness.recipe
    command = shell(f"echo $$ > {started.path}; read line < {go.path}; exit 5")["command"]
    with maker_of(recipe, study, command, submitted) as maker:
        started.receive()
        submitted.receive()
    assert maker.returncode == -signal.SIGKILL
    with observed(recipe, study) as fresh:
        assert [job.name for job in fresh.executor.find(study)] == ["a"]
        go.send("go\n")
        assert fresh.final("a").exit_code == 5


# --- inline ---------------------------------------------------------------------------------------------------------


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ZeroDivisionError("no cells"), "ZeroDivisionError: no cells"),
        (SystemExit("no cells"), "SystemExit: no cells"),
        (OSError("no file \udcff"), "OSError: no file \\udcff"),
        (UnprintableError(), f"{__name__}.UnprintableError: <exception str() failed>"),
    ],
)
def test_an_exception_fails_an_inline_job_and_its_traceback_is_in_the_log(spec, tmp_path, study, error, message):
    def diverge(canceled: threading.Event) -> int:
        raise error

    with observed(InlineHarness(tmp_path).recipe, study) as inline:
        job = spec("a", call=diverge)
        inline.submit(job)
        final = inline.final("a")
    assert final == JobUpdate(name="a", state=JobState.FAILED, exit_code=None, message=message)
    assert "in diverge" in log_tail(job.log)
    assert log_tail(job.log, 1) == message


def test_close_names_the_inline_jobs_that_do_not_end(spec, study):
    release = threading.Event()
    with InlineExecutor(on_change=lambda: None) as executor:
        executor.submit([spec("deaf", call=lambda canceled: int(not release.wait(DEADLINE_S)))], study)
        with pytest.raises(DeadlineExceededError, match="job-deaf"):
            executor.close(0.05)
        release.set()


# --- local ----------------------------------------------------------------------------------------------------------


def test_a_relative_command_starts_at_the_jobs_directory(local, spec, tmp_path):
    (tmp_path / "solver").write_text("#!/bin/sh\nexit 4\n")
    (tmp_path / "solver").chmod(0o755)
    local.submit(spec("a", command=("./solver",)))
    assert local.final("a").exit_code == 4


def test_a_file_that_is_no_program_fails_and_says_so_in_the_log(local, spec, tmp_path):
    (tmp_path / "solver").write_text("#!/no/such/interpreter\n")
    (tmp_path / "solver").chmod(0o755)
    job = spec("a", command=("./solver",))
    local.submit(job)
    assert local.final("a").exit_code == 127
    assert "cannot execute './solver'" in log_tail(job.log)


def test_sigterm_gives_a_job_time_to_end_well(spec, tmp_path, study, fifo):
    started = fifo("started")
    text = f"trap 'echo saved; exit 0' TERM; echo > {started.path}; while :; do sleep 0.01; done"
    job = spec("a", **shell(text))
    with observed({**LocalHarness(tmp_path).recipe, "grace_s": DEADLINE_S}, study) as local:
        handles = local.submit(job)
        started.receive()
        local.executor.cancel(handles["a"])
        final = local.final("a")
    assert final == JobUpdate(name="a", state=JobState.CANCELED, exit_code=0, message="canceled")
    assert "saved" in log_tail(job.log)


@pytest.mark.parametrize(
    "how", ["canceled", "canceled, guard stopped", "main process ends", "main process killed", "guard killed"]
)
def test_nothing_of_a_job_is_left_at_its_final_update(local, spec, fifo, how):
    started, go, stray_started = fifo("started"), fifo("go"), fifo("stray")
    ending = "exit 5" if how == "main process ends" else "sleep 60"
    # A container may clear the environment, and with it the mark: the guard needs none.
    stray_command = deaf(stray_started) if how == "guard killed" else f"env -i {deaf(stray_started)}"
    text = f"{stray_command} & echo $$ > {started.path}; read line < {go.path}; {ending}"
    handles = local.submit(spec("a", **shell(text)))
    main, stray = int(started.receive()), int(stray_started.receive())
    if how == "main process ends":
        go.send("go\n")
    elif how.startswith("canceled"):
        if how == "canceled, guard stopped":
            os.kill(parent_of(main), signal.SIGSTOP)
        local.executor.cancel(handles["a"])
    else:
        os.kill(main if how == "main process killed" else parent_of(main), signal.SIGKILL)
    final = local.final("a")
    assert not is_alive(main)
    assert not is_alive(stray)
    assert final.exit_code == (5 if how == "main process ends" else None)


def test_close_kills_what_ignores_sigterm_when_its_time_is_over(spec, fifo, study):
    started = fifo("started")
    with LocalExecutor(on_change=lambda: None, grace_s=600) as executor:
        executor.submit([spec("a", **shell(f"exec {deaf(started)}"))], study)
        pid = int(started.receive())
        executor.close(0.1)
        assert not is_alive(pid)
    assert [update.state for update in executor.poll()] == [JobState.ACTIVE, JobState.CANCELED]


def test_close_frees_its_thread_and_descriptors(spec, study):
    before = set(os.listdir("/proc/self/fd"))
    with LocalExecutor(on_change=lambda: None, grace_s=GRACE_S) as executor:
        executor.submit([spec(name, command=("sleep", "60")) for name in "abc"], study)
        with LocalExecutor(on_change=lambda: None, grace_s=GRACE_S) as another:
            assert len(another.find(study)) == 3
    assert set(os.listdir("/proc/self/fd")) == before
    assert "local-executor" not in [thread.name for thread in threading.enumerate()]


def test_a_failure_of_the_watching_thread_surfaces(spec, study):
    refused = threading.Event()

    def on_change() -> None:
        if threading.current_thread() is not threading.main_thread() and not refused.is_set():
            refused.set()
            raise ZeroDivisionError("the loop is broken")

    executor = LocalExecutor(on_change=on_change, grace_s=GRACE_S)
    executor.__enter__()
    executor.submit([spec("a", command=("true",))], study)
    assert refused.wait(DEADLINE_S)
    with pytest.raises(ZeroDivisionError, match="the loop is broken"):
        executor.close(DEADLINE_S)
    with pytest.raises(ZeroDivisionError, match="the loop is broken"):
        executor.poll()


LAUNCHER = """
import sys, threading
from pathlib import Path
from melissa_like.launcher.executors import JobSpec, LocalExecutor

job = JobSpec(name="a", command=("sh", "-c", sys.argv[1]), log=Path("a.log"), working_directory=Path.cwd())
with LocalExecutor(on_change=lambda: None, grace_s=0.3) as executor:
    # From a thread that ends at once: the job must not die with it.
    thread = threading.Thread(target=executor.submit, args=([job], "study"))
    thread.start()
    thread.join(60)
    Path(sys.argv[2]).write_text("submitted")
    threading.Event().wait(60)
"""


def test_a_launcher_killed_by_sigkill_leaves_no_process(tmp_path, fifo):
    submitted, started, stray_started = fifo("submitted"), fifo("started"), fifo("stray")
    text = f"{deaf(stray_started)} & echo $$ > {started.path}; sleep 60"
    arguments = (sys.executable, "-c", LAUNCHER, text, str(submitted.path))
    with subprocess.Popen(arguments, cwd=tmp_path) as launcher, ExitStack() as stack:
        stack.callback(launcher.kill)
        submitted.receive()
        main, stray = int(started.receive()), int(stray_started.receive())
        assert parent_of(main) != launcher.pid
        ends = [stack.enter_context(watched(pid)) for pid in (main, stray, parent_of(main))]
        launcher.kill()
        assert [has_ended() for has_ended in ends] == [True, True, True]


def test_a_command_ends_with_its_guard_when_the_launcher_has_gone_too(tmp_path, fifo):
    submitted, started = fifo("submitted"), fifo("started")
    text = f"echo $$ > {started.path}; exec sleep 60"
    arguments = (sys.executable, "-c", LAUNCHER, text, str(submitted.path))
    with subprocess.Popen(arguments, cwd=tmp_path) as launcher, ExitStack() as stack:
        stack.callback(launcher.kill)
        submitted.receive()
        main = int(started.receive())
        guard = parent_of(main)
        has_ended = stack.enter_context(watched(main))
        os.kill(guard, signal.SIGSTOP)  # it shall not see the end of the launcher
        launcher.kill()
        os.kill(guard, signal.SIGKILL)
        assert has_ended()


def test_what_is_left_of_a_job_whose_guard_and_launcher_were_killed_is_found_and_ended(tmp_path, fifo, study):
    """It ignored the SIGTERM that came with the guard's end, so nothing else would ever end it."""
    recipe, submitted, started = LocalHarness(tmp_path).recipe, fifo("submitted"), fifo("started")
    command = ("sh", "-c", f"exec {deaf(started)}")
    with maker_of(recipe, study, command, submitted) as maker, ExitStack() as stack:
        handle, main = submitted.receive(), int(started.receive())
        has_ended = stack.enter_context(watched(main))
        guard = parent_of(main)
        guard_has_ended = stack.enter_context(watched(guard))
        os.kill(guard, signal.SIGSTOP)  # it shall not see the end of the launcher
        maker.kill()
        maker.wait(DEADLINE_S)
        os.kill(guard, signal.SIGKILL)
        assert guard_has_ended()
        with observed(recipe, study) as fresh:
            (found,) = fresh.executor.find(study)
            assert (found.name, found.handle != handle) == ("a", True)
            fresh.executor.cancel(handle)  # the guard's: it names nothing any more
            fresh.executor.cancel(found.handle)
            assert fresh.final("a").state is JobState.CANCELED
        assert has_ended()
