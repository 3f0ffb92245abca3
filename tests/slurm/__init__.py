"""A real Slurm of several emulated nodes on this machine, and the tests that run studies on it.

`Cluster` brings it up in less than a second and takes it down without a trace, also if the tests are killed: slurmctld,
munged and one slurmd per node, of Debian's packages (slurmctld slurmd slurm-client munge iproute2), for root only.
Where it cannot be, the tests are skipped with the reason. A test takes the fixture `cluster` (tests/conftest.py) and
the mark `slurm`:

```python
@pytest.mark.slurm
def test_a_command_on_three_nodes(cluster):
    assert len(cluster.login.run("srun", "--nodes=3", "hostname").split()) == 3
```

- `cluster.login` is n0, `cluster.nodes["n1"]` a compute node: each a `Host` with `run(*command)`, which returns what it
  prints, `start(command, cwd=, env=, ...)`, a `Popen` that takes signals, and `kill()`, which crashes the host.
- `cluster.queue()` is what `squeue` lists, `cluster.await_that(what, words)` waits for anything with a deadline.
- `cluster.start("n2")` boots a node again.
- After the test the fixture sees that the queue is empty and that no process is left on any host.
- `with Cluster(2, num_cpus=2, binds=True) as other:` is another one, whose tasks are bound to their processors.

A host has its own name, address (eth0), processes, /proc, /dev/shm and boot id; its files are those of this machine,
so that every path is on a file system that all nodes share, and so is /tmp. There is no accounting (`sacct` fails).
Partitions: `main` (all nodes) and `gpu` (the last node, which says that it has a GPU). Time limits count in minutes. A
node that was killed is noticed after 10 seconds or more, and shown as down half a minute later.
"""

from tests.slurm.cluster import Cluster, why_no_cluster
from tests.slurm.hosts import Host

__all__ = ["Cluster", "Host", "why_no_cluster"]
