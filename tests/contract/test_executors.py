"""One contract for all executors, then what only processes can show, then the start command and the log's tail.

A harness says how an executor is opened and how a job with some behaviour is written for it; another executor joins
the suite by adding its harness to `HARNESSES`.
"""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from melissa_like.errors import ConfigurationError, DeadlineExceededError
from melissa_like.launcher.executors import (
    Executor,
    InlineExecutor,
    JobSpec,
    JobState,
    JobUpdate,
    LocalExecutor,
    launch_command,
    log_tail,
)

DEADLINE_S = 20.0  # generous: it catches hangs
GRACE_S = 0.3


class Observed:
    """An executor, and what it told so far."""

    def __init__(self, executor: Executor, changed: threading.Event) -> None:
        self.executor = executor
        self.changed = changed
        self.updates: list[JobUpdate] = []

    def of(self, name: str) -> list[JobUpdate]:
        return [update for update in self.updates if update.name == name]

    def until(self, condition: Callable[[], bool]) -> None:
        """Polls at each `on_change`, and at nothing else, until the condition holds."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert self.changed.wait(deadline - time.monotonic()), f"no change came; so far: {self.updates}"
            self.changed.clear()
            self.updates.extend(self.executor.poll())

    def active(self, name: str) -> None:
        self.until(lambda: any(update.state is JobState.ACTIVE for update in self.of(name)))

    def final(self, name: str) -> JobUpdate:
        self.until(lambda: any(update.state.is_final for update in self.of(name)))
        return self.of(name)[-1]


class Harness(Protocol):
    def open(self, changed: threading.Event) -> Executor: ...

    def exits(self, code: int, text: str = "") -> tuple[str, ...]:
        """Command of a job that writes a text into its log and exits with a code."""

    def runs_until_canceled(self, started: Path) -> tuple[str, ...]:
        """Command of a job that writes its process id to a pipe and then runs until it is canceled."""


class LocalHarness:
    def open(self, changed: threading.Event) -> Executor:
        return LocalExecutor(on_change=changed.set, grace_s=GRACE_S)

    def exits(self, code: int, text: str = "") -> tuple[str, ...]:
        return ("sh", "-c", f"printf '%s' '{text}'; exit {code}")

    def runs_until_canceled(self, started: Path) -> tuple[str, ...]:
        return ("sh", "-c", f"echo $$ > {started}; exec sleep 60")


class InlineHarness:
    def open(self, changed: threading.Event) -> Executor:
        return InlineExecutor(self._run, on_change=changed.set)

    def _run(self, spec: JobSpec, canceled: threading.Event) -> int:
        what, argument, text = spec.command
        if what == "exit":
            spec.log.parent.mkdir(parents=True, exist_ok=True)
            with spec.log.open("a") as log:
                log.write(text)
            return int(argument)
        Path(argument).write_text(str(os.getpid()))
        assert canceled.wait(DEADLINE_S)
        return 0

    def exits(self, code: int, text: str = "") -> tuple[str, ...]:
        return ("exit", str(code), text)

    def runs_until_canceled(self, started: Path) -> tuple[str, ...]:
        return ("wait", str(started), "")


HARNESSES = {"local": LocalHarness, "inline": InlineHarness}


@pytest.fixture(params=HARNESSES)
def harness(request: pytest.FixtureRequest) -> Harness:
    return HARNESSES[request.param]()  # type: ignore[no-any-return]


@pytest.fixture
def opened(harness: Harness, fifo: object) -> Iterator[Observed]:  # closes before the pipes do
    changed = threading.Event()
    with harness.open(changed) as executor:
        yield Observed(executor, changed)


@pytest.fixture
def local(fifo: object) -> Iterator[Observed]:
    changed = threading.Event()
    with LocalHarness().open(changed) as executor:
        yield Observed(executor, changed)


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., JobSpec]:
    def make(name: str, *command: str, **environment: str) -> JobSpec:
        return JobSpec(
            name=name,
            command=command,
            environment=environment,
            log=tmp_path / "logs" / f"{name}.log",
            working_directory=tmp_path,
        )

    return make


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


class Fifo:
    """A named pipe by which another process or thread says something to the test."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def receive(self) -> str:
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        assert poller.poll(DEADLINE_S * 1000), f"nothing was written to {self.path}"
        return os.read(self._descriptor, 4096).decode()

    def send(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Callable[[str], Fifo]]:
    made: list[Fifo] = []

    def make(name: str) -> Fifo:
        made.append(Fifo(tmp_path / name))
        return made[-1]

    yield make
    for each in made:
        each.close()


# --- every executor -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "state"), [(0, JobState.COMPLETED), (3, JobState.FAILED)])
def test_the_final_update_tells_the_exit_code(opened, harness, spec, code, state):
    opened.executor.submit(spec("a", *harness.exits(code)))
    assert opened.final("a") == JobUpdate(name="a", state=state, exit_code=code, message=f"exit code {code}")


def test_updates_come_in_order_and_the_final_one_once(opened, harness, spec):
    names = [f"job-{index}" for index in range(50)]
    for index, name in enumerate(names):
        opened.executor.submit(spec(name, *harness.exits(index % 3)))
    for name in names:
        opened.final(name)
    opened.executor.close(DEADLINE_S)
    opened.updates.extend(opened.executor.poll())
    for index, name in enumerate(names):
        active, final = opened.of(name)
        assert (active.state, active.exit_code, active.message) == (JobState.ACTIVE, None, "")
        assert final.exit_code == index % 3


def test_poll_does_not_wait_for_a_job(opened, harness, spec, fifo):
    opened.executor.submit(spec("a", *harness.runs_until_canceled(fifo("started").path)))
    opened.active("a")
    assert opened.executor.poll() == ()


def test_a_canceled_job_ends_as_canceled(opened, harness, spec, fifo):
    started = fifo("started")
    opened.executor.submit(spec("a", *harness.runs_until_canceled(started.path)))
    started.receive()
    opened.executor.cancel("a")
    opened.executor.cancel("a")
    final = opened.final("a")
    assert (final.state, final.message) == (JobState.CANCELED, "canceled")


def test_canceling_an_ended_or_unknown_job_does_nothing(opened, harness, spec):
    opened.executor.submit(spec("a", *harness.exits(0)))
    opened.final("a")
    opened.executor.cancel("a")
    opened.executor.cancel("never submitted")
    opened.executor.close(DEADLINE_S)
    assert opened.executor.poll() == ()


def test_canceling_one_job_leaves_the_others(opened, harness, spec, fifo):
    started = fifo("started")
    for name in "ab":
        opened.executor.submit(spec(name, *harness.runs_until_canceled(started.path)))
        started.receive()
    opened.executor.cancel("a")
    opened.final("a")
    assert [update.state for update in opened.of("b")] == [JobState.ACTIVE]


def test_close_ends_every_job_and_poll_tells_it(opened, harness, spec, fifo):
    started = fifo("started")
    for name in "abc":
        opened.executor.submit(spec(name, *harness.runs_until_canceled(started.path)))
        started.receive()
    opened.executor.close(DEADLINE_S)
    finals = {update.name: update.state for update in opened.executor.poll() if update.state.is_final}
    assert finals == dict.fromkeys("abc", JobState.CANCELED)
    opened.executor.close(DEADLINE_S)


def test_the_log_is_appended_to(opened, harness, spec, tmp_path):
    log = tmp_path / "logs" / "a.log"
    log.parent.mkdir()
    log.write_text("an earlier attempt\n")
    opened.executor.submit(spec("a", *harness.exits(1, "the solver diverged")))
    opened.final("a")
    assert log.read_text() == "an earlier attempt\nthe solver diverged"


def test_a_name_is_accepted_once(opened, harness, spec):
    opened.executor.submit(spec("a", *harness.exits(0)))
    opened.final("a")
    with pytest.raises(ValueError, match="'a' was submitted before"):
        opened.executor.submit(spec("a", *harness.exits(0)))


def test_only_an_open_executor_takes_jobs(harness, spec):
    executor = harness.open(threading.Event())
    with pytest.raises(ValueError, match="not open"):
        executor.submit(spec("a", *harness.exits(0)))
    with executor:
        pass
    with pytest.raises(ValueError, match="not open"):
        executor.submit(spec("a", *harness.exits(0)))


# --- inline ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ZeroDivisionError("no cells"), SystemExit("no cells")])
def test_an_exception_fails_an_inline_job_and_its_traceback_is_in_the_log(spec, error):
    def diverge(spec: JobSpec, canceled: threading.Event) -> int:
        raise error

    changed = threading.Event()
    with InlineExecutor(diverge, on_change=changed.set) as executor:
        job = spec("a", "solve")
        executor.submit(job)
        final = Observed(executor, changed).final("a")
    message = f"{type(error).__name__}: no cells"
    assert final == JobUpdate(name="a", state=JobState.FAILED, exit_code=None, message=message)
    assert "in diverge" in log_tail(job.log)
    assert log_tail(job.log, 1) == message


def test_close_names_the_inline_jobs_that_do_not_end(spec):
    release = threading.Event()
    with InlineExecutor(lambda spec, canceled: int(not release.wait(DEADLINE_S)), on_change=lambda: None) as executor:
        executor.submit(spec("deaf", "solve"))
        with pytest.raises(DeadlineExceededError, match="job-deaf"):
            executor.close(0.05)
        release.set()


# --- local ----------------------------------------------------------------------------------------------------------


def test_a_job_gets_its_environment_and_directory(local, spec, tmp_path, monkeypatch):
    monkeypatch.setenv("INHERITED", "kept")
    job = spec("a", "sh", "-c", 'echo "$OMP_NUM_THREADS $INHERITED"; pwd -P', OMP_NUM_THREADS="1")
    local.executor.submit(job)
    local.final("a")
    assert log_tail(job.log) == f"1 kept\n{tmp_path.resolve()}"


@pytest.mark.parametrize("command", ["no-such-solver", "./no-such-solver", "/no/such/solver"])
def test_a_missing_command_is_refused_before_anything_starts(local, spec, command):
    with pytest.raises(ConfigurationError, match=f"'a' starts the command '{command}'"):
        local.executor.submit(spec("a", command))
    assert local.executor.poll() == ()


def test_a_missing_directory_is_refused(local, tmp_path):
    job = JobSpec(name="a", command=("true",), log=tmp_path / "a.log", working_directory=tmp_path / "none")
    with pytest.raises(ConfigurationError, match="not a directory"):
        local.executor.submit(job)


def test_a_relative_command_starts_at_the_jobs_directory(local, spec, tmp_path):
    (tmp_path / "solver").write_text("#!/bin/sh\nexit 4\n")
    (tmp_path / "solver").chmod(0o755)
    local.executor.submit(spec("a", "./solver"))
    assert local.final("a").exit_code == 4


def test_a_file_that_is_no_program_fails_and_says_so_in_the_log(local, spec, tmp_path):
    (tmp_path / "solver").write_text("#!/no/such/interpreter\n")
    (tmp_path / "solver").chmod(0o755)
    job = spec("a", "./solver")
    local.executor.submit(job)
    assert local.final("a").exit_code == 127
    assert "cannot execute './solver'" in log_tail(job.log)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_killed_job_fails_and_names_the_signal(local, spec, fifo, number):
    started = fifo("started")
    local.executor.submit(spec("a", *LocalHarness().runs_until_canceled(started.path)))
    os.kill(int(started.receive()), number)
    message = f"killed by {number.name}"
    assert local.final("a") == JobUpdate(name="a", state=JobState.FAILED, exit_code=None, message=message)


#: Ignores SIGTERM, is in a session of its own as an MPI rank is, then writes its process id.
DEAF = (
    "import os, pathlib, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.getsid(0) == os.getpid() "
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


def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(local, spec, fifo):
    started = fifo("started")
    local.executor.submit(spec("a", "sh", "-c", f"exec {deaf(started)}"))
    pid = int(started.receive())
    local.executor.cancel("a")
    assert local.final("a").state is JobState.CANCELED
    assert not is_alive(pid)


def test_sigterm_gives_a_job_time_to_end_well(spec, fifo):
    changed, started = threading.Event(), fifo("started")
    text = f"trap 'echo saved; exit 0' TERM; echo > {started.path}; while :; do sleep 0.01; done"
    job = spec("a", "sh", "-c", text)
    with LocalExecutor(on_change=changed.set, grace_s=DEADLINE_S) as executor:
        executor.submit(job)
        started.receive()
        executor.cancel("a")
        final = Observed(executor, changed).final("a")
    assert final == JobUpdate(name="a", state=JobState.CANCELED, exit_code=0, message="canceled")
    assert "saved" in log_tail(job.log)


@pytest.mark.parametrize("how", ["canceled", "main process ends", "main process killed", "guard killed"])
def test_nothing_of_a_job_is_left_at_its_final_update(local, spec, fifo, how):
    started, go, stray_started = fifo("started"), fifo("go"), fifo("stray")
    ending = "exit 5" if how == "main process ends" else "sleep 60"
    # A container may clear the environment, and with it the mark: the guard needs none.
    stray_command = deaf(stray_started) if how == "guard killed" else f"env -i {deaf(stray_started)}"
    text = f"{stray_command} & echo $$ > {started.path}; read line < {go.path}; {ending}"
    local.executor.submit(spec("a", "sh", "-c", text))
    main, stray = int(started.receive()), int(stray_started.receive())
    if how == "main process ends":
        go.send("go\n")
    elif how == "canceled":
        local.executor.cancel("a")
    else:
        os.kill(main if how == "main process killed" else parent_of(main), signal.SIGKILL)
    final = local.final("a")
    assert not is_alive(main)
    assert not is_alive(stray)
    assert final.exit_code == (5 if how == "main process ends" else None)


def test_close_kills_what_ignores_sigterm_when_its_time_is_over(spec, fifo):
    started = fifo("started")
    with LocalExecutor(on_change=lambda: None, grace_s=600) as executor:
        executor.submit(spec("a", "sh", "-c", f"exec {deaf(started)}"))
        pid = int(started.receive())
        executor.close(0.1)
        assert not is_alive(pid)
    assert [update.state for update in executor.poll()] == [JobState.ACTIVE, JobState.CANCELED]


def test_close_frees_its_thread_and_descriptors(spec):
    before = set(os.listdir("/proc/self/fd"))
    with LocalExecutor(on_change=lambda: None, grace_s=GRACE_S) as executor:
        for name in "abc":
            executor.submit(spec(name, "sleep", "60"))
    assert set(os.listdir("/proc/self/fd")) == before
    assert "local-executor" not in [thread.name for thread in threading.enumerate()]


def test_a_failure_of_the_watching_thread_surfaces(spec):
    refused = threading.Event()

    def on_change() -> None:
        if threading.current_thread() is not threading.main_thread() and not refused.is_set():
            refused.set()
            raise ZeroDivisionError("the loop is broken")

    executor = LocalExecutor(on_change=on_change, grace_s=GRACE_S)
    executor.__enter__()
    executor.submit(spec("a", "true"))
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
    thread = threading.Thread(target=executor.submit, args=(job,))
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


# --- start command and log ------------------------------------------------------------------------------------------


def test_mpiexec_beside_the_running_python_comes_first(tmp_path, monkeypatch):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder in (here, elsewhere):
        folder.mkdir()
        (folder / "mpiexec").touch(0o755)
    monkeypatch.setenv("PATH", str(elsewhere))
    monkeypatch.setattr(sys, "executable", str(here / "python"))
    expected = ("-n", "4", "solver", "--fast")
    assert launch_command("mpiexec -n {num_ranks}", 4, ["solver", "--fast"]) == (str(here / "mpiexec"), *expected)
    (here / "mpiexec").unlink()
    assert launch_command("mpiexec -n {num_ranks}", 4, ["solver", "--fast"]) == (str(elsewhere / "mpiexec"), *expected)
    (elsewhere / "mpiexec").unlink()
    assert launch_command("mpiexec -n {num_ranks}", 4, ["solver", "--fast"]) == ("mpiexec", *expected)


def test_a_site_writes_its_own_start_command():
    template = "/opt/mpi/mpirun -n {num_ranks} --map-by 'slot:PE={num_ranks}'"
    assert launch_command(template, 2, ("./solver",)) == (
        *("/opt/mpi/mpirun", "-n", "2", "--map-by", "slot:PE=2"),
        "./solver",
    )


def test_an_empty_start_command_runs_one_rank_directly():
    assert launch_command("", 1, ["./solver", "{as} is"]) == ("./solver", "{as} is")
    with pytest.raises(ConfigurationError, match=r"empty but solver\.num_ranks is 2"):
        launch_command("", 2, ["./solver"])


@pytest.mark.parametrize("template", ["srun -n {ranks}", "srun -n {}", "srun -n {num_ranks", "srun -n {num_ranks}}"])
def test_a_wrong_placeholder_is_answered_with_the_valid_ones(template):
    with pytest.raises(ConfigurationError, match=r"valid placeholders are \{num_ranks\}"):
        launch_command(template, 2, ["./solver"])


def test_broken_quotes_are_named():
    with pytest.raises(ConfigurationError, match="close the quotes"):
        launch_command("srun -n '{num_ranks}", 2, ["./solver"])


def test_the_tail_of_a_log_is_bounded_and_survives_binary(tmp_path):
    log = tmp_path / "a.log"
    assert log_tail(log) == ""
    log.write_bytes(b"x" * 1_000_000 + b"\nfirst\n\xff second\n")
    assert log_tail(log, 2) == "first\n\N{REPLACEMENT CHARACTER} second"
    assert len(log_tail(log)) < 100_000
