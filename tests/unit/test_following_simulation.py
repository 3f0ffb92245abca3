"""One simulation of a program that is followed: its steps, its failures, its back-pressure, and what is left of it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from melissa_like.client.following.pending import Pending, sizes_in
from melissa_like.client.following.program import end_in_words
from melissa_like.client.following.simulation import Usage, follow_simulation
from melissa_like.errors import ConfigurationError, ProgramFailedError, SolverError, StudyStoppedError
from tests.unit.test_following_templates import call

ROOT = Path(__file__).parents[2]
WRITES = """
import sys
for step in range(int(sys.argv[1])):
    with open(f"{step}.txt", "w") as file:
        file.write(" ".join(str(step * float(sys.argv[2]))  for _ in range(4)))
"""


class Receiver:
    """Takes the steps of a simulation."""

    simulation, attempt = 3, 2

    def __init__(self, send: Callable[[int], None] = lambda step: None) -> None:
        self.parameters = {"load": 0.5}
        self.arrived: list[tuple[int, Any, float | None]] = []
        self._send = send

    def send(self, step: int, fields: Mapping[str, Any], time: float | None = None) -> None:
        self._send(step)
        self.arrived.append((step, fields["v"].tolist(), time))

    def listen(self) -> None:
        pass


def follow(
    tmp_path: Path,
    program: str,
    *arguments: str,
    reader: str = "numbered",
    receiver: Receiver | None = None,
    **more: Any,
) -> tuple[Receiver, Usage]:
    (tmp_path / "program.py").write_text(program)
    command = (sys.executable, "-S", str(tmp_path / "program.py"), *(arguments or ("{load}",)))
    target = {"_target_": f"tests.plugins.readers.{reader}"}
    recipe = call(tmp_path, command=command, launch=(), reader=target, grace_s=0.5, **more).recipe()
    receiver, usage = receiver or Receiver(), Usage()
    follow_simulation(recipe, receiver, tmp_path / "folder", usage)
    return receiver, usage


def test_the_files_of_a_program_become_time_steps(tmp_path: Path) -> None:
    receiver, usage = follow(tmp_path, WRITES, "3", "{load}", num_steps=3)
    assert receiver.arrived == [(step, [0.5 * step] * 4, None) for step in range(3)]
    assert (usage.num_files, usage.peak_bytes) == (3, 45)
    assert len(list((tmp_path / "folder").iterdir())) == 3


def test_files_go_once_they_are_sent_if_asked(tmp_path: Path) -> None:
    follow(tmp_path, WRITES, "3", "{load}", remove_sent_files=True)
    assert list((tmp_path / "folder").iterdir()) == []


def test_lines_of_a_program_become_time_steps(tmp_path: Path) -> None:
    printed = "import sys\nfor step in range(3): print(step, sys.argv[1])\nsys.stdout.write('3 4')"
    receiver, _ = follow(tmp_path, printed, reader="printed")
    assert receiver.arrived == [(0, [0.0, 0.5], 0.0), (1, [1.0, 0.5], 0.5), (2, [2.0, 0.5], 1.0), (3, [3.0, 4.0], 1.5)]


def test_a_program_goes_on_to_its_end_when_its_reader_has_all_that_it_wants(tmp_path: Path) -> None:
    receiver, _ = follow(tmp_path, WRITES, "20", "{load}", reader="once")
    assert len(receiver.arrived) == 1
    assert (tmp_path / "folder" / "19.txt").exists()


SAYS = """
import os, sys
print("iteration 7")
print("NaN in U", file=sys.stderr)
sys.stdout.flush()
load = sys.argv[1]
"""
LEFT = SAYS + "open('out.dat', 'w')"


@pytest.mark.parametrize(
    ("program", "reader", "more", "kind", "words"),
    [
        (SAYS + "sys.exit(3)", "numbered", {}, ProgramFailedError, "ended with exit code 3\n"),
        (SAYS + "os.kill(os.getpid(), 11)", "numbered", {}, ProgramFailedError, r"was ended by SIGSEGV \(Segm"),
        (SAYS, "numbered", {}, SolverError, "found no time step; the program left no file: let the reader look"),
        (
            LEFT,
            "numbered",
            {},
            SolverError,
            "no time step; the program left the files out.dat",
        ),
        (SAYS, "broken", {}, ProgramFailedError, "(?s)cannot read what the program left: .*0.txt has 3 columns"),
        (SAYS, "once", {"num_steps": 2}, SolverError, "found 1 time steps, but solver.num_steps is 2"),
        (SAYS, "pairs", {}, SolverError, "yielded a tuple: yield Found"),
        (SAYS, "returns_a_list_of_nothing", {}, SolverError, "returned a NoneType: let it be a generator"),
    ],
)
def test_what_went_wrong_is_told_with_the_command_and_its_last_lines(
    tmp_path: Path, program: str, reader: str, more: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words) as raised:
        follow(tmp_path, program, reader=reader, **more)
    assert f"`{sys.executable} -S {tmp_path}/program.py 0.5` in {tmp_path}/folder" in str(raised.value)
    assert "iteration 7" in str(raised.value)
    assert "NaN in U" in str(raised.value)


def test_an_argument_that_names_a_file_elsewhere_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plate.py").write_text("")
    recipe = call(tmp_path, command=(sys.executable, "plate.py", "{load}"), launch=()).recipe()
    with pytest.raises(ProgramFailedError, match=r"there is no plate.py: write \{started_in\}/plate.py"):
        follow_simulation(recipe, Receiver(), tmp_path / "folder", Usage())


def test_a_program_that_cannot_be_started_is_refused(tmp_path: Path) -> None:
    recipe = call(tmp_path, command=(str(tmp_path / "nothing"), "{load}"), launch=()).recipe()
    with pytest.raises(ConfigurationError, match=r"nothing' cannot be started \(No such file"):
        follow_simulation(recipe, Receiver(), tmp_path / "folder", Usage())


def test_how_a_process_ended_in_words() -> None:
    assert end_in_words(3) == "ended with exit code 3"
    assert end_in_words(-9) == "was ended by SIGKILL (Killed)"
    assert "the shell did not find a program" in end_in_words(127)
    assert "a program was ended by SIGFPE" in end_in_words(136)
    assert end_in_words(-40).startswith("was ended by signal 40")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _await(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60.0
    while not what():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.01)


FAST = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1000)"])
open("pids", "w").write(f"{os.getpid()} {child.pid}")
os.rename("pids", "pids.txt")
for step in range(40):
    with open(f"{step}.txt", "w") as file:
        file.write("1.0 2.0 3.0 4.0\\n" + " " * 10000)
    while step == 20 and not os.path.exists("go"):  # the limit is passed by now
        time.sleep(0.01)
child.kill()
"""


def test_a_program_that_writes_faster_than_is_sent_is_stopped_with_all_its_processes(tmp_path: Path) -> None:
    folder = tmp_path / "folder"

    def send(step: int) -> None:
        """At the first step of all the server is slow."""
        if step == 0:
            _await((folder / "pids.txt").exists)
            pids = [int(pid) for pid in (folder / "pids.txt").read_text().split()]
            _await(lambda: [_state(pid) for pid in pids] == ["T", "T"])
            assert not (folder / "39.txt").exists()
            (folder / "go").touch()

    receiver, usage = follow(
        tmp_path, FAST, receiver=Receiver(send), max_pending_bytes=100_000, num_steps=40, remove_sent_files=True
    )
    assert [step for step, _, _ in receiver.arrived] == [*range(40)]
    assert usage.stopped_s > 0
    assert 100_000 < usage.peak_bytes < 400_000


def test_a_program_whose_processes_are_elsewhere_is_ended_at_the_limit(tmp_path: Path) -> None:
    """What another host writes goes on growing while all that can be stopped has been stopped."""
    folder = tmp_path / "folder"
    program = "import os, sys, time\nload = sys.argv[1]\nopen('pid', 'w').write(str(os.getpid()))\n"
    program += (
        "os.rename('pid', 'pid.txt')\nfor step in (0, 1): open(f'{step}.txt', 'w').write('1 2 3 4')\ntime.sleep(1000)"
    )

    def send(step: int) -> None:
        pid = int((folder / "pid.txt").read_text())

        def has_ended() -> bool:
            with (folder / "written_elsewhere").open("a") as file:
                file.write(" " * 1000)
            return _state(pid) in ("", "Z")

        _await(has_ended)

    told = r"solver\.max_pending_bytes allows 5000, and the program cannot be stopped"
    with pytest.raises(ProgramFailedError, match=told):
        follow(tmp_path, program, receiver=Receiver(send), max_pending_bytes=5000)
    assert not _running(tmp_path)


def test_a_file_larger_than_the_limit_is_written_all_the_same(tmp_path: Path) -> None:
    slow = "import time\nwith open('0.txt', 'w') as file:\n    file.write('1 2 3 4')\n    for _ in range(50):\n"
    slow += "        file.write(' ' * 1000)\n        file.flush()\n        time.sleep(0.01)\n"
    receiver, _ = follow(tmp_path, "import sys\nload = sys.argv[1]\n" + slow, max_pending_bytes=5000)
    assert len(receiver.arrived) == 1


def test_a_study_that_is_over_ends_the_program(tmp_path: Path) -> None:
    class Over(Receiver):
        def listen(self) -> None:
            raise StudyStoppedError("the study is over")

    with pytest.raises(StudyStoppedError):
        follow(tmp_path, "import sys, time\nload = sys.argv[1]\ntime.sleep(1000)", receiver=Over())
    assert not _running(tmp_path)


def test_what_is_pending_is_what_has_grown_since_the_reader_has_sent_all() -> None:
    pending = Pending({"input": 100})
    pending.measure({"input": 100, "a": 50})
    assert (pending.num_bytes, pending.total_bytes, pending.num_files) == (50, 150, 2)
    pending.look()
    pending.measure({"input": 100, "a": 60, "b": 5})
    assert pending.num_bytes == 65
    pending.waits()  # it has sent what it saw: 50 bytes of a
    assert pending.num_bytes == 15
    pending.measure({"b": 7})  # the others were removed
    assert (pending.num_bytes, pending.total_bytes, pending.peak_bytes) == (7, 7, 165)


def test_the_sizes_of_all_files_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "U").write_text("12345")
    (tmp_path / "a").symlink_to(tmp_path)
    sizes = sizes_in(tmp_path)
    assert sizes[str(tmp_path / "0" / "U")] == 5
    assert len(sizes) == 2
    assert sizes_in(tmp_path / "nowhere") == {}


def _running(folder: Path) -> list[int]:
    """Processes that were started in a folder or below."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and Path(os.readlink(entry / "cwd")).is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


LEAVES = """
import json, sys
from pathlib import Path
from melissa_like.client.following.program import Program
from melissa_like.client.following.tree import become_subreaper

become_subreaper()
with Program(["sh", "-c", "{begin} echo started; {end}"], Path.cwd()) as program:
    while not program.lines():
        program.listen(0.01)
    print("ready", flush=True)
    while program.listen(10.0):
        pass
print(json.dumps(program.returncode))
"""


def test_nothing_of_a_program_is_left_when_its_main_process_has_ended(tmp_path: Path) -> None:
    begin = "setsid sleep 1000 & setsid sleep 1000 >/dev/null 2>&1 &"
    ran = _script(tmp_path, LEAVES.replace("{begin}", begin).replace("{end}", "exit 5"))
    out, err = ran.communicate(timeout=60.0)
    assert json.loads(out.splitlines()[-1]) == 5, err
    assert not _running(tmp_path)


def test_the_main_process_ends_with_a_follower_that_is_killed(tmp_path: Path) -> None:
    ran = _script(tmp_path, LEAVES.replace("{begin}", "").replace("{end}", "exec sleep 1000"))
    assert ran.stdout is not None
    while "ready" not in ran.stdout.readline():
        pass
    ran.kill()
    ran.communicate(timeout=60.0)
    _await(lambda: not _running(tmp_path))


def _script(folder: Path, text: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command: Sequence[str] = (sys.executable, "-c", text)
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
