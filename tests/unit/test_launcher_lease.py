"""The lease: one launcher at a time, whatever host it runs on and however the last one ended."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from melissa_like.errors import LeaseError
from melissa_like.launcher.holder import Holder
from melissa_like.launcher.lease import LeaseFile, newest_lease, take_lease

ELSEWHERE = Holder(host="node17", boot="another", namespace="pid:[1]", pid=4711, started=5)


class Time:
    """A clock that moves when somebody waits; meanwhile something may happen."""

    def __init__(self, meanwhile: Callable[[float], None] = lambda now: None) -> None:
        self._now = 1000.0
        self.meanwhile = meanwhile

    def now(self) -> float:
        return self._now

    def wait(self, seconds: float) -> None:
        self._now += seconds
        self.meanwhile(self._now)


def dead_here() -> Holder:
    """A process of this machine that has ended."""
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return msgspec.structs.replace(Holder.this_process(), pid=int(ended.stdout))


def test_it_is_given_back_at_the_end_and_taken_again_at_once(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        with take_lease(tmp_path, watch=Time()) as lease:
            assert lease.number == number
    assert [path.name for path in tmp_path.iterdir()] == ["lease.3"]


def test_a_living_holder_on_this_machine_is_named_at_once(tmp_path: Path) -> None:
    with take_lease(tmp_path), pytest.raises(LeaseError, match=f"process {os.getpid()} on .* works on the study"):
        take_lease(tmp_path, watch=Time())


def test_a_holder_that_died_on_this_machine_is_replaced_at_once(tmp_path: Path) -> None:
    take_lease(tmp_path, holder=dead_here())
    time = Time()
    assert take_lease(tmp_path, watch=time).number == 2
    assert time.now() == 1000.0


def test_a_process_that_has_the_number_of_a_dead_holder_is_not_taken_for_it(tmp_path: Path) -> None:
    take_lease(tmp_path, holder=msgspec.structs.replace(Holder.this_process(), started=1))
    assert take_lease(tmp_path, watch=Time()).number == 2


def test_a_silent_holder_on_another_host_is_replaced_after_half_a_minute(tmp_path: Path) -> None:
    told: list[str] = []
    take_lease(tmp_path, holder=ELSEWHERE)
    time = Time()
    assert take_lease(tmp_path, watch=time, tell=told.append).number == 2
    assert 30.0 <= time.now() - 1000.0 < 33.0
    assert len(told) == 1
    assert "process 4711 on node17" in told[0]


def test_a_holder_on_another_host_that_renews_keeps_it(tmp_path: Path) -> None:
    holders_time = Time()
    held = take_lease(tmp_path, holder=ELSEWHERE, watch=holders_time)

    def renew(now: float) -> None:
        holders_time.wait(1.0)
        held.keep()

    with pytest.raises(LeaseError, match="process 4711 on node17 works on the study"):
        take_lease(tmp_path, watch=Time(renew))


def test_a_taker_that_stood_still_itself_begins_to_watch_anew(tmp_path: Path) -> None:
    take_lease(tmp_path, holder=ELSEWHERE)
    time = Time()
    jumps = iter([3600.0])
    time.meanwhile = lambda now: time.wait(next(jumps, 0.0)) if now < 1002.0 else None
    take_lease(tmp_path, watch=time)
    assert time.now() - 1000.0 >= 3600.0 + 28.0


def test_a_holder_that_stood_still_finds_that_it_was_replaced(tmp_path: Path) -> None:
    time = Time()
    with take_lease(tmp_path, holder=ELSEWHERE, watch=time) as late:
        new = take_lease(tmp_path, watch=Time())
        late.keep()  # not due yet
        time.wait(60.0)
        with pytest.raises(LeaseError, match=f"process {os.getpid()} on .* has taken over"):
            late.keep()
    assert newest_lease(tmp_path)[0] == new.number == 2
    new.keep()


def test_a_lease_that_is_renewed_changes(tmp_path: Path) -> None:
    time = Time()
    with take_lease(tmp_path, watch=time) as lease:
        for renewals in (1, 2):
            time.wait(5.0)
            lease.keep()
            lease.keep()
            said = newest_lease(tmp_path)[1]
            assert said is not None
            assert (said.renewals, said.given_back) == (renewals, False)
    said = newest_lease(tmp_path)[1]
    assert said is not None
    assert said.given_back


def test_a_damaged_file_counts_as_one_that_does_not_change(tmp_path: Path) -> None:
    (tmp_path / "lease.7").write_bytes(b"\0" * 100)
    time = Time()
    assert take_lease(tmp_path, watch=time).number == 8
    assert time.now() - 1000.0 >= 30.0


def test_one_that_stands_still_before_it_links_has_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile another takes the number it wants, and a third the next one, which removes it."""
    first, next_one = tmp_path / "lease.1", tmp_path / "lease.3"
    first.write_bytes(msgspec.json.encode(LeaseFile(holder=dead_here())))
    link = os.link

    def link_late(made: Path, path: Path) -> None:
        first.unlink()
        next_one.write_bytes(msgspec.json.encode(LeaseFile(holder=ELSEWHERE)))
        link(made, path)

    monkeypatch.setattr(os, "link", link_late)
    with pytest.raises(LeaseError, match=r"process 4711 on node17 .*works on the study"):
        take_lease(tmp_path, watch=Time())
    assert [path.name for path in tmp_path.iterdir()] == ["lease.3"]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_full_disk_leaves_nothing_of_a_lease_that_could_not_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    """Neither a file aside, nor one without a holder, for which others would wait half a minute."""
    write, written = Path.write_bytes, []

    def write_less(path: Path, content: bytes) -> int:
        written.append(path.name)
        if len(written) == (1 if has_links else 2):
            write(path, b"")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, content)

    def refuse(made: Path, path: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "write_bytes", write_less)
    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="No space left on device"):
        take_lease(tmp_path, watch=Time())
    assert list(tmp_path.iterdir()) == []


def test_of_many_takers_one_gets_it(tmp_path: Path) -> None:
    (tmp_path / "lease.1").write_bytes(msgspec.json.encode(LeaseFile(holder=dead_here())))
    taken: list[int] = []
    refused: list[str] = []
    begin = threading.Barrier(8)

    def take(number: int) -> None:
        holder = msgspec.structs.replace(ELSEWHERE, pid=number)
        begin.wait(10.0)
        try:
            taken.append(take_lease(tmp_path, holder=holder, watch=Time()).number)
        except LeaseError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert taken[0] == 2
    assert len(taken) + len(refused) == 8
    assert sorted(set(taken)) == sorted(taken)
