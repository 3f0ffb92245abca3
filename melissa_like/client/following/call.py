"""What a follower has to do, as the launcher writes it into the run directory."""

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from melissa_like.client.following.found import Reader
from melissa_like.client.following.inputs import InputFile, read_inputs
from melissa_like.client.following.templates import Delimiters, Template, Value, unused
from melissa_like.errors import ConfigurationError
from melissa_like.plugins import factory_of, locate, make

__all__ = ["FOLLOWER_FILE", "FollowCall", "Recipe", "read_follow_call", "reader_of", "seed_of"]

FOLLOWER_FILE = "follower.json"
_SEEDS = 2**31 - 1  # what every language takes


class FollowCall(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of a study whose solver is followed; names as under `solver`.

    Attributes:
        launch: the MPI start command, word by word.
        started_in: the folder from which relative paths are meant.
        parameters: names, in the order of the layout.
        shapes: of the fields; a name for a size that differs between simulations.
        static: of the fields that each simulation sends once.
        seed: of the study.
        grace_s: between SIGTERM and SIGKILL.
        environment: variables that the program gets besides those of the job.
    """

    command: tuple[str, ...]
    launch: tuple[str, ...]
    num_processes: int
    files: dict[str, str]
    placeholder: str
    reader: dict[str, Any]
    work_dir: str | None
    keep_files: str
    remove_sent_files: bool
    max_pending_bytes: int
    num_steps: int | None
    started_in: str
    parameters: tuple[str, ...]
    shapes: dict[str, tuple[int | str, ...]]
    static: dict[str, tuple[int | str, ...]]
    seed: int
    grace_s: float
    environment: dict[str, str]

    def recipe(self) -> "Recipe":
        """All that is needed to run simulations, read and checked.

        Raises:
            ConfigurationError: as `read_templates` and `reader_of`.
        """
        words, inputs = self.read_templates()
        return Recipe(call=self, words=words, inputs=inputs, reader=reader_of(self.reader))

    def read_templates(self) -> tuple[tuple[Template, ...], tuple[InputFile, ...]]:
        """The words of the command, and the input files.

        Raises:
            ConfigurationError: a template that cannot be read, a placeholder that nothing is known for, a parameter
                that stands nowhere.
        """
        delimiters = Delimiters.of(self.placeholder)
        words = tuple(Template.of(word, "solver.command", delimiters) for word in self.command)
        inputs = read_inputs(self.files, Path(self.started_in), delimiters)
        templates = [*words, *(file.template for file in inputs if file.template is not None)]
        examples = self.values(dict.fromkeys(self.parameters, 1.0), simulation=0, attempt=1, folder=Path("/"))
        for template in templates:
            template.require_known(examples, delimiters)
        forgotten = unused(self.parameters, templates)
        if forgotten:
            where = f"solver.command nor in a template of solver.files ({', '.join(self.files) or 'there are none'})"
            raise ConfigurationError(
                f"the parameter {forgotten[0]!r} stands neither in {where}, so the program would never see it: write "
                f"{delimiters.around(forgotten[0])} where it belongs, or remove it from solver.parameters"
            )
        return words, inputs

    def values(
        self, parameters: Mapping[str, float], *, simulation: int, attempt: int, folder: Path
    ) -> dict[str, Value]:
        """What placeholders of a simulation stand for; a parameter goes before a word of the same name.

        Args:
            parameters: of it, by name.
            simulation: its number.
            attempt: the execution of it.
            folder: in which the program runs.
        """
        words: dict[str, Value] = {
            "simulation": simulation,
            "attempt": attempt,
            "seed": seed_of(self.seed, simulation),
            "num_processes": self.num_processes,
            "folder": str(folder),
            "started_in": self.started_in,
        }
        return {**parameters, **{name: value for name, value in words.items() if name not in parameters}}


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """A `FollowCall` with its templates read and its reader made."""

    call: FollowCall
    words: tuple[Template, ...]
    inputs: tuple[InputFile, ...]
    reader: Reader

    def command(self, values: Mapping[str, Value]) -> tuple[str, ...]:
        """The whole command of a simulation.

        Raises:
            SolverError: a value that its format cannot write.
        """
        return (*self.call.launch, *(word.rendered(values) for word in self.words))


def reader_of(target: Mapping[str, Any]) -> Reader:
    """The reader that `solver.reader` names: an object of a class, or a function with its options bound.

    Raises:
        ConfigurationError: it cannot be imported or made, or is not called with a run.
    """
    key = "solver.reader"
    if isinstance(target.get("_target_"), str) and not isinstance(locate(target["_target_"], key), type):
        found = factory_of(target, key)
    else:
        found = make(target, key)
    if not callable(found):
        raise ConfigurationError(
            f"{key} is a {type(found).__name__}, which is not called: name a function of the run, or a class whose "
            "objects are; see melissa_like.client.following"
        )
    return partial(found)


def seed_of(seed: int, simulation: int) -> int:
    """A number below 2^31 for the random numbers of a simulation: the same at each attempt, another for each other."""
    digest = hashlib.sha256(f"{seed} {simulation}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _SEEDS


def read_follow_call(run_dir: Path) -> FollowCall:
    """What the launcher wrote into the run directory.

    Raises:
        ConfigurationError: it wrote none.
    """
    try:
        return msgspec.json.decode((run_dir / FOLLOWER_FILE).read_bytes(), type=FollowCall)
    except OSError as error:
        raise ConfigurationError(
            f"{run_dir / FOLLOWER_FILE} cannot be read ({error.strerror}): only a study with solver.reader starts "
            "melissa_like.client.following"
        ) from None
