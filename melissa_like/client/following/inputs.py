"""The input files of a simulation: from templates, into a folder of its own."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from melissa_like.client.following.templates import Delimiters, Template, Value
from melissa_like.errors import ConfigurationError

__all__ = ["InputFile", "read_inputs", "write_inputs"]

#: What reads and writes every byte of a text, whichever encoding it is in.
_ENCODING, _ERRORS = "utf-8", "surrogateescape"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file that a simulation finds in its folder.

    Attributes:
        name: in that folder.
        source: that it is made from.
        template: its text; None of one without placeholders, or that is no text: it is copied.
    """

    name: PurePosixPath
    source: Path
    template: Template | None


def read_inputs(files: Mapping[str, str], started_in: Path, delimiters: Delimiters) -> tuple[InputFile, ...]:
    """Read all templates; a folder stands for all files in it.

    Args:
        files: by the name in the simulation's folder, the template or the folder of templates.
        started_in: the folder from which relative paths of templates are meant.
        delimiters: of placeholders.

    Raises:
        ConfigurationError: no such template, one that cannot be read, or a name that leads out of the folder.
    """
    found: dict[PurePosixPath, InputFile] = {}
    for name, path in files.items():
        target, source = PurePosixPath(name), started_in / path
        if target.is_absolute() or ".." in target.parts or (not source.is_dir() and not target.name):
            raise ConfigurationError(
                f"solver.files has the file {name!r}, which is not in the simulation's folder: write a name such as "
                "'input.txt' or 'case/input.txt'"
            )
        try:
            for file in _read(target, source, delimiters):
                if file.name in found:
                    raise ConfigurationError(
                        f"solver.files makes {str(file.name)!r} from both {found[file.name].source} and {file.source}: "
                        "leave one of them out"
                    )
                found[file.name] = file
        except OSError as error:
            raise ConfigurationError(
                f"solver.files makes {name!r} from the template {path!r}, which cannot be read ({error.strerror}): "
                f"write a file or folder that there is, relative to {started_in}, where the study was started"
            ) from None
    return tuple(found.values())


def _read(target: PurePosixPath, source: Path, delimiters: Delimiters) -> Iterator[InputFile]:
    if not source.is_dir():
        yield _read_file(target, source, delimiters)
        return
    for folder, _, names in os.walk(source, followlinks=True, onerror=_raise):
        for name in sorted(names):
            file = Path(folder) / name
            yield _read_file(target / file.relative_to(source).as_posix(), file, delimiters)


def _raise(error: OSError) -> None:
    raise error


def _read_file(name: PurePosixPath, source: Path, delimiters: Delimiters) -> InputFile:
    content = source.read_bytes()
    template = None
    if b"\0" not in content:
        template = Template.of(content.decode(_ENCODING, _ERRORS), str(source), delimiters)
        if all(isinstance(piece, str) for piece in template.pieces) and content == _bytes_of(template, {}):
            template = None
    return InputFile(name=name, source=source, template=template)


def _bytes_of(template: Template, values: Mapping[str, Value]) -> bytes:
    return template.rendered(values).encode(_ENCODING, _ERRORS)


def write_inputs(inputs: Sequence[InputFile], folder: Path, values: Mapping[str, Value]) -> None:
    """Write all input files of a simulation into its folder, with the permissions of their templates.

    Raises:
        SolverError: a value that a format cannot write.
        OSError: no room, say.
    """
    for file in inputs:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.template is None:
            shutil.copyfile(file.source, path)
        else:
            path.write_bytes(_bytes_of(file.template, values))
        shutil.copymode(file.source, path)
