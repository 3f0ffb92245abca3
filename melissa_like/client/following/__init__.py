"""Programs that nobody edits: their job is a follower, which starts them and sends what they leave.

Nouns: a *reader* turns what a program leaves into `Found` time steps while it runs; a `Run` is one execution of the
program, as its reader sees it. A reader is a callable, named by its import path under `solver.reader`; a generator
function does::

    def reader(run: Run) -> Iterator[Found]:
        step = 0
        runs = True
        while runs:
            runs = run.wait()  # False: the program has ended, and this is the last look
            while (file := run.folder / f"out_{step}.npy").exists() and (not runs or is_complete(file)):
                yield Found(step, {"heat": np.load(file)}, files=[file])
                step += 1

A file that is not complete is never yielded: by what it is recognised (renamed into place, the next one begun, the end
of the program) is said by each reader. `ScriptedRun` is the twin without a program, for tests of readers. Everything
runs on the calling thread.
"""

from melissa_like.client.following.found import Found, Reader, Run
from melissa_like.client.following.scripted import ScriptedRun

__all__ = ["Found", "Reader", "Run", "ScriptedRun"]
