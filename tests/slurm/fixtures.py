"""The cluster of a test session; each process of pytest that runs such tests has one of its own."""

from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, why_no_cluster

__all__ = ["cluster", "emulated_cluster"]

_SETTLE_S = 20.0


@pytest.fixture(scope="session")
def emulated_cluster() -> Iterator[Cluster]:
    """It comes up with the first test, and goes down with the session."""
    if reason := why_no_cluster():
        pytest.skip(reason)
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(emulated_cluster: Cluster) -> Iterator[Cluster]:
    """An idle cluster for one test, which must leave nothing in the queue and no process on a host."""
    try:
        yield emulated_cluster
        emulated_cluster.await_that(lambda: not emulated_cluster.queue(), "the queue is empty", _SETTLE_S)
        emulated_cluster.await_that(lambda: not emulated_cluster.processes(), "no process is left", _SETTLE_S)
    finally:
        emulated_cluster.empty()
