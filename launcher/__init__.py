"""The process on the head node: it owns the study.

`cli` is the command, `run` the composition root, `Shell` the loop (one thread: it owns the control socket, the journal
and the study's state; the executor's watcher and the signal handlers only wake it), `backends` and `executors` say
where things run. Imports torch only where the inline backend runs a server rank in this process.
"""

__all__: list[str] = []
