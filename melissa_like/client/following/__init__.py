"""Programs that nobody edits: their job is a follower, which starts them and sends what they leave.

Nouns: a *reader* turns what a program leaves into `Found` time steps while it runs, and a mesh that the study declares
into a `Beginning` before them; a `Run` is one execution of the program, as its reader sees it. A reader is a callable,
named by its import path under `solver.reader`; a generator function does::

    def reader(run: Run) -> Iterator[Found]:
        step = 0
        runs = True
        while runs:
            runs = run.wait()  # False: the program has ended, and this is the last look
            while (file := run.folder / f"out_{step}.npy").exists() and (not runs or is_complete(file)):
                yield Found(step, {"heat": np.load(file)}, files=[file])
                step += 1

A file that is not complete is never yielded: by what it is recognised (renamed into place, the next one begun, the end
of the program) is said by each reader. `ScriptedRun` is the twin without a program, for tests of readers.

| file | what |
|---|---|
| `call.py` | what the launcher tells a follower, and what follows from it |
| `templates.py`, `inputs.py` | placeholders in texts; input files from templates |
| `program.py`, `tree.py` | a process with all that it starts: started, listened to, stopped, ended |
| `pending.py`, `watch.py` | what waits on the disk to be sent; the thread that stops the program while it is too much |
| `mesh.py` | sizes and static fields, before the first step |
| `simulation.py`, `follower.py` | one simulation; one job |

The reader and the session run on the main thread, the watch on its own. It is for POSIX systems with `/proc`.
"""

from melissa_like.client.beginning import Beginning
from melissa_like.client.following.found import Found, Reader, Run
from melissa_like.client.following.scripted import ScriptedRun

__all__ = ["Beginning", "Found", "Reader", "Run", "ScriptedRun"]
