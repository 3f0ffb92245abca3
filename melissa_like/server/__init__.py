"""A server rank: receives what it owns, keeps a bounded selection of it, trains on that.

| thread | owns | waits for |
|---|---|---|
| main (the trainer) | model, optimizer, the default process group | the next turn; the gradients' all-reduce |
| `receiver` | the PULL socket, the assembler | a message; room in the buffer |
| `loading` | the agreement's process group, the batches being prepared | a free slot of the ring; samples |
| `control` | the DEALER socket, the sinks | a message of the launcher |
| `checkpoint` | the files of a checkpoint | something to write; the disk |
| `doorkeeper` | the socket on which ZeroMQ asks who may connect | somebody who connects |

The threads meet in the buffer, in the loader's lane and in the control thread's inbox, nowhere else; of the doorkeeper
only its counts are read. An exception on any of them closes the buffer; the trainer's next turn raises it. Only what
goes wrong with a checkpoint does not: it is told, and the training goes on.

A checkpoint is one *cut* over all ranks. The loader's agreement says after which training step; there the trainer's
thread copies what it trains to the host, and waits some milliseconds while the receiving thread, between two samples,
says what it has delivered and keeps the slots of the buffer. The thread that writes copies them out piece by piece and
lets them go. When all ranks have written, which the agreement says too, rank 0 writes the manifest, and it counts.
A later incarnation of the server ranks loads the newest one that all of them can, before solvers may come.

`rank` is the composition root of a rank that trains: it opens the stream, runs the loop that `training.loop` names, and
closes in reverse. `checking` is a rank that only looks, for `melissa-like check`. `reception` is what both have in
common, and needs no torch. `cut`, `checkpoints` and `restoring` save and load; `last_words` reports. Rank 0 of several
opens the place where they meet and announces it in its hello; the launcher tells the others. `nodes` says what depends
on the host that a rank runs on: its GPU, and the interface over which torch talks. Nothing is imported here, so that
`__main__` can say what is not installed.
"""

__all__: list[str] = []
