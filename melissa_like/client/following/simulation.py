"""One simulation of a program that is followed: its folder, its files, its run, its steps."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from melissa_like.client.beginning import Beginning
from melissa_like.client.following.call import Recipe
from melissa_like.client.following.found import Found
from melissa_like.client.following.inputs import write_inputs
from melissa_like.client.following.mesh import MeshOfRun
from melissa_like.client.following.pending import sizes_in
from melissa_like.client.following.program import Program, end_in_words
from melissa_like.client.following.watch import Watch
from melissa_like.errors import MelissaLikeError, ProgramFailedError, SolverError, story_of

__all__ = ["Receiver", "Usage", "follow_simulation"]

_SHORTEST_S, _LONGEST_S = 0.01, 0.5
#: What the reader's looking may take of the time while it finds nothing.
_SHARE = 0.1
_NAMED_FILES = 10


class Receiver(Protocol):
    """What becomes of the steps of a simulation; a `Session` is one."""

    @property
    def parameters(self) -> Mapping[str, float]:
        """Values by name."""
        ...

    @property
    def simulation(self) -> int:
        """Its number."""
        ...

    @property
    def attempt(self) -> int:
        """The execution of it."""
        ...

    def begin(self, extents: Mapping[str, int], static: Mapping[str, Any]) -> None:
        """Say what does not change, before the first step."""
        ...

    def send(self, step: int, fields: Mapping[str, Any], time: float | None = None) -> None:
        """Send a step; blocks while back-pressure holds it."""
        ...

    def listen(self) -> None:
        """Raise if the study is over."""
        ...


@dataclass(slots=True, kw_only=True)
class Usage:
    """What a simulation took of its disk.

    Attributes:
        peak_bytes: the most that its folder held at once.
        num_files: in it at the end.
        stopped_s: how long the program was stopped, because too much waited to be sent.
    """

    peak_bytes: int = 0
    num_files: int = 0
    stopped_s: float = 0.0


class _Run:
    """The program's run as its reader sees it; see `found.Run`.

    Attributes:
        failure: that `wait` has raised.
    """

    def __init__(self, recipe: Recipe, receiver: Receiver, folder: Path, program: Program, watch: Watch) -> None:
        self.folder = folder
        self.parameters: Mapping[str, float] = dict(receiver.parameters)
        self.shapes: Mapping[str, tuple[int | str, ...]] = recipe.call.shapes
        self.static: Mapping[str, tuple[int | str, ...]] = recipe.call.static
        self.failure: BaseException | None = None
        self._receiver = receiver
        self._program = program
        self._watch = watch
        self._looked_at: float | None = None

    def wait(self) -> bool:
        try:
            return self._wait()
        except BaseException as error:
            self.failure = error
            raise

    def lines(self) -> list[str]:
        return self._program.lines()

    def found(self) -> None:
        """A step was found, so looking was worth it."""
        self._looked_at = None

    def _wait(self) -> bool:
        self._watch.waits()
        self._receiver.listen()
        runs = self._program.listen(self._pause())
        self._watch.check()
        if not runs and self._program.returncode:
            raise ProgramFailedError(
                f"the program {end_in_words(self._program.returncode)}{_hint(self._program)}{_story(self._program)}"
            )
        self._watch.look()
        self._looked_at = time.monotonic()
        return runs

    def _pause(self) -> float:
        """So long that looking in vain takes little of the time."""
        if self._looked_at is None:
            return _SHORTEST_S
        return min(max(_SHORTEST_S, (time.monotonic() - self._looked_at) / _SHARE), _LONGEST_S)


def follow_simulation(recipe: Recipe, receiver: Receiver, folder: Path, usage: Usage) -> None:
    """Run the program in a folder of its own, and send what its reader finds; then nothing of the program runs.

    Args:
        recipe: of the study.
        receiver: of the steps.
        folder: that does not exist; it is left as it is at the end.
        usage: to be filled in, whatever is raised.

    Raises:
        ProgramFailedError: the program failed, or left what its reader cannot read.
        SolverError: it broke its contract, so that another attempt would do the same.
        ConfigurationError: the program cannot be started.
        StudyStoppedError: the study is over.
        OSError: no room for the files, say.
    """
    call = recipe.call
    folder.mkdir(parents=True)
    values = call.values(receiver.parameters, simulation=receiver.simulation, attempt=receiver.attempt, folder=folder)
    write_inputs(recipe.inputs, folder, values)
    inputs = sizes_in(folder)
    command = recipe.command(values)
    with Program(command, folder, environment=call.environment, grace_s=call.grace_s) as program:
        watch = Watch(folder, inputs, program.tree, call.max_pending_bytes)
        try:
            with watch:
                num_steps = _send_steps(recipe, receiver, _Run(recipe, receiver, folder, program, watch), program)
        finally:
            usage.peak_bytes, usage.stopped_s = watch.pending.peak_bytes, watch.stopped_s
            usage.num_files = watch.pending.num_files - len(inputs)
    if num_steps != call.num_steps and (call.num_steps is not None or num_steps == 0):
        raise SolverError(_too_few(recipe, num_steps, folder, inputs, program))


def _send_steps(recipe: Recipe, receiver: Receiver, run: _Run, program: Program) -> int:
    """Send all that is found, until the program has ended; how many steps there were."""
    num_steps = 0
    for found in _found_by(recipe, run, program):
        run.found()
        if isinstance(found, Beginning):
            receiver.begin(found.extents, found.static)
            continue
        receiver.send(found.step, found.fields, found.time)
        num_steps += 1
        for file in found.files if recipe.call.remove_sent_files else ():
            file.unlink(missing_ok=True)
    while run.wait():  # a reader may have all that it wants before
        run.lines()
    return num_steps


def _found_by(recipe: Recipe, run: _Run, program: Program) -> Iterator[Found | Beginning]:
    reader, mesh = recipe.call.reader["_target_"], MeshOfRun(recipe.call.shapes, recipe.call.static)
    try:
        read = recipe.reader(run)
        if not isinstance(read, Iterable):
            raise SolverError(
                f"the reader {reader} returned a {type(read).__name__}: let it be a generator that yields `Found(step, "
                "{name: array})` for each time step"
            )
        for found in read:
            if not isinstance(found, Found | Beginning):
                raise SolverError(
                    f"the reader {reader} yielded a {type(found).__name__}: yield Found(step, {{name: array}}), of "
                    "melissa_like.client.following"
                )
            yield from mesh.ready(found)
    except (SolverError, ProgramFailedError) as error:
        if error is run.failure:
            raise
        raise type(error)(f"{error}{_story(program)}") from error
    except MelissaLikeError:
        raise
    except Exception as error:  # the reader may be the user's, and the file may hold anything
        raise ProgramFailedError(
            f"the reader {reader} cannot read what the program left: {story_of(error)}{_story(program)}"
        ) from error


def _too_few(recipe: Recipe, num_steps: int, folder: Path, inputs: Mapping[str, int], program: Program) -> str:
    told = f"the program ended with exit code 0, and the reader {recipe.call.reader['_target_']} found"
    if num_steps == 0:
        left = sorted(Path(name).relative_to(folder).as_posix() for name in sizes_in(folder).keys() - inputs.keys())
        more = f" and {len(left) - _NAMED_FILES} more" if len(left) > _NAMED_FILES else ""
        files = f"the files {', '.join(left[:_NAMED_FILES])}{more}" if left else "no file"
        return (
            f"{told} no time step; the program left {files}: let the reader look for what the program writes"
            f"{_story(program)}"
        )
    return (
        f"{told} {num_steps} time steps, but solver.num_steps is {recipe.call.num_steps}: let the program write every "
        "step, or correct solver.num_steps (null for a program of which it is not known in advance)"
        f"{_story(program)}"
    )


def _hint(program: Program) -> str:
    """What is often the reason: an argument names a file that lies where the study was started."""
    named = [word for word in program.command[1:] if not word.startswith(("-", "/")) and Path(word).is_file()]
    missed = [word for word in named if not (program.folder / word).exists()]
    if not missed:
        return ""
    return (
        f" (it runs in a folder of its own, where there is no {missed[0]}: write {{started_in}}/{missed[0]} in "
        "solver.command, or have it made there by solver.files)"
    )


def _story(program: Program) -> str:
    """Where the program ran, and its last words, for the end of a message."""
    said = program.last_lines()
    words = f"the last lines that it printed:\n{said}" if said else "it printed nothing"
    return f"\nit was started as `{' '.join(program.command)}` in {program.folder}; {words}"
