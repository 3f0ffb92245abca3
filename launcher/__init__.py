"""The process on the head node: it owns the study.

`cli` is the command, `run` the composition root, `Shell` the loop (one thread: it owns the control socket, the journal
and the study's state; the sampler's thread, the executor's and the signal handlers only wake it, another one writes its
snapshots), `commands` says what is started, `executors` where. Imports torch only where a server rank runs in this
process.
"""

__all__: list[str] = []
