"""A handle names one process for ever: an id that was used again is nobody of ours."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from melissa_like.launcher.executors.tags import TaggedJob, handle_of, job_of_handle, jobs_of_study, open_process, tags


@contextmanager
def tagged() -> Iterator[TaggedJob]:
    """A process that carries the tags of a job."""
    environment = {**os.environ, **tags("study-of-the-test", "job-0001", "a-mark")}
    command = [sys.executable, "-S", "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (job,) = jobs_of_study("study-of-the-test")
        assert job.pid == process.pid
        yield job


def of_another_time(job: TaggedJob) -> TaggedJob:
    """What had the same process id before this boot's present process got it."""
    place, _, started = job.handle.rpartition("/")
    return replace(job, handle=f"{place}/{int(started) - 1}")


def test_a_process_is_found_by_its_handle() -> None:
    with tagged() as job:
        assert handle_of(job.pid) == job.handle
        assert job_of_handle(job.handle) == job
        descriptor = open_process(job)
        assert descriptor is not None
        os.close(descriptor)
    assert job_of_handle(job.handle) is None
    assert open_process(job) is None


def test_a_process_id_that_is_used_again_names_nobody() -> None:
    with tagged() as job:
        before = of_another_time(job)
        assert job_of_handle(before.handle) is None
        assert open_process(before) is None


def test_the_same_process_id_on_another_host_or_after_a_reboot_names_nobody() -> None:
    with tagged() as job:
        host, boot, pid, started = job.handle.split("/")
        assert job_of_handle(f"elsewhere/{boot}/{pid}/{started}") is None
        assert job_of_handle(f"{host}/another-boot/{pid}/{started}") is None
