"""What is wrong with the command line or a configuration file: from what Hydra raises to a sentence.

Hydra's own words are kept where they help. Its advice to add a key that it does not know with `+` is not: in a group
there are no other keys than those of the schema.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException, SearchPathException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from melissa_like.config.keys import groups
from melissa_like.config.mistakes import did_you_mean, explain, nearest, unknown_key

__all__ = ["explain_refusal"]

# Hydra 1.3 says only in its messages which override and which file it was at.
_OVERRIDE = re.compile(r"Could not override '([^']+)'|Error merging override [+~]*([^=\s]+)")
_REMOVED = re.compile(r"Could not delete from config. '([^']+)' does not exist")
_FILE = re.compile(r"In '([^']+)': ")
_HINT = re.compile(r"\n(To append to your|See https://hydra).*", re.DOTALL)


def explain_refusal(error: Exception, folders: Sequence[Path] = ()) -> str:
    """One or two sentences on why nothing was composed: what was received, what was expected, what to do.

    Args:
        error: what Hydra raised.
        folders: of the user's configuration files.
    """
    for cause in _chain(error):
        if isinstance(cause, OverrideParseException):
            return _unreadable(cause)
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file and cause.options is not None:
            return _no_such_file(cause.missing_cfg_file, list(cause.options))
        if isinstance(cause, yaml.MarkedYAMLError) and cause.problem_mark is not None:
            return _broken_yaml(cause)
        if isinstance(cause, OmegaConfBaseException):
            return _refused_key(cause, str(error))
    if isinstance(error, SearchPathException):
        return f"--config-dir: {error}: give the folder that holds your solver/, model/ and other groups"
    if isinstance(error, UnicodeDecodeError | yaml.reader.ReaderError | OSError):
        return _unreadable_file(folders) or str(error)
    said = _HINT.sub("", str(error)) or type(error).__name__
    if removed := _REMOVED.search(said):
        return unknown_key(removed[1])
    if said.startswith("Config group override must be"):
        said += ": choose a file of the group by its name, as in buffer=fifo"
    return _no_such_group(error) or said


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it came from, the latest first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unreadable(error: OverrideParseException) -> str:
    said = _HINT.sub("", error.message).replace("LexerNoViableAltException: ", "").strip()
    return (
        f"the argument {error.override!r} cannot be read: write KEY=VALUE, and quote what is no plain word or number "
        f"twice, as in \"buffer.capacity='2 GiB'\"\n{said}"
    )


def _no_such_file(missing: str, options: list[str]) -> str:
    group, _, choice = missing.rpartition("/")
    return (
        f"{group}={choice}: there is no {missing}.yaml{did_you_mean(choice, options)} (the choices of {group} are "
        f"{', '.join(options) or 'none'}; a file of yours is FOLDER/{missing}.yaml, found with --config-dir FOLDER)"
    )


def _broken_yaml(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    assert mark is not None
    context = f" {error.context}" if error.context else ""
    return f"{mark.name}, line {mark.line + 1}, column {mark.column + 1} is no YAML{context}: {error.problem}"


def _unreadable_file(folders: Sequence[Path]) -> str:
    """Which file of the user's is none; Hydra does not say it."""
    for path in (path for folder in folders for path in sorted(folder.rglob("*.yaml"))):
        try:
            OmegaConf.load(path)
        except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
            return f"{path} cannot be read ({error}): write keys and values as YAML, in UTF-8"
    return ""


def _refused_key(error: OmegaConfBaseException, said: str) -> str:
    override, file = _OVERRIDE.search(said), _FILE.match(said)
    written = (override[1] or override[2]) if override else ""
    if written.partition(".")[0] == "hydra":
        return _HINT.sub("", said)
    key = written if error.full_key and written.startswith(f"{error.full_key}.") else None
    return (f"{file[1]}.yaml: " if file else "") + explain(error, key)


def _no_such_group(error: Exception) -> str:
    """A folder of the user's that is none of the groups, chosen as if it were one."""
    override = _OVERRIDE.search(str(error))
    if not isinstance(error, ConfigCompositionException) or override is None or not override[1]:
        return ""
    names = [group.name for group in groups() if group.name]
    if nearest(override[1], names):
        return f"{override[1]} is no group of the configuration{did_you_mean(override[1], names)}"
    return (
        f"{override[1]} is no group of the default study, which has {', '.join(names)}: choose from it with a plus, "
        f"+{override[1]}=..."
    )
