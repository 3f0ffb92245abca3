"""The words behind a command: options with their values, and overrides."""

import sys
from collections.abc import Sequence
from itertools import pairwise, zip_longest
from pathlib import Path

from melissa_like.config.mistakes import did_you_mean

__all__ = [
    "DRY_RUN",
    "HELP",
    "WRITE_SCRIPT",
    "config_folders",
    "only_shows",
    "refuse_unknown_options",
    "split",
    "take_value",
]

HELP = ("--help", "-h")
DRY_RUN = "--dry-run"
WRITE_SCRIPT = "--write-script"
_CONFIG_DIR = {"--config-dir", "-cd"}
_CONFIG_NAME = {"--config-name", "-cn", "--config-path", "-cp"}
_SHOW = {"--cfg", "-c", "--package", "-p", "--experimental-rerun"}
_INFO = {"--info", "-i"}
_INFO_KINDS = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}
_OPTIONS_WITH_VALUE = _CONFIG_DIR | _CONFIG_NAME | _SHOW
_PLAIN_OPTIONS = {
    "--multirun",
    "-m",
    "--run",
    "-r",
    "--resolve",
    "--hydra-help",
    "--version",
    "--shell-completion",
    "-sc",
}
_OPTIONS = _OPTIONS_WITH_VALUE | _INFO | _PLAIN_OPTIONS | {DRY_RUN, WRITE_SCRIPT, *HELP}


def refuse_unknown_options(arguments: Sequence[str]) -> None:
    """Leave with a question for the option that was perhaps meant.

    Raises:
        SystemExit: one is not known.
    """
    for option in split(arguments)[0]:
        name = option.partition("=")[0]
        if name.startswith("-") and name not in _OPTIONS:
            near = did_you_mean(name, _OPTIONS) or f": write one of {', '.join(sorted(_OPTIONS))}"
            sys.stderr.write(f"melissa-like: unknown option {name!r}{near}\n")
            sys.exit(2)


def only_shows(options: Sequence[str]) -> bool:
    """Whether Hydra only prints what it has composed, and no study is run."""
    return any(option.partition("=")[0] in _SHOW | _INFO for option in options)


def config_folders(options: Sequence[str]) -> list[Path]:
    """The user's configuration folder, if there is one."""
    spaced = [word for option in options for word in option.split("=", 1)]
    return [Path(value) for option, value in pairwise(spaced) if option in _CONFIG_DIR]


def take_value(option: str, arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The value that may follow an option, and the arguments without both; what looks like an override is none."""
    before = list(arguments)
    at = next(place for place, word in enumerate(before) if word.partition("=")[0] == option)
    _, _, value = before[at].partition("=")
    following = before[at + 1 : at + 2]
    if not value and following and "=" not in following[0] and not following[0].startswith("-"):
        return following[0], before[:at] + before[at + 2 :]
    return value, before[:at] + before[at + 1 :]


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options with their values, and overrides; they may come in any order."""
    options: list[str] = []
    overrides: list[str] = []
    rest = iter(zip_longest(arguments, arguments[1:], fillvalue=""))
    for argument, value in rest:
        if not argument.startswith("-"):
            overrides.append(argument)
            continue
        if argument in _INFO and value not in _INFO_KINDS:
            options.append("--info=all")
        elif argument in _OPTIONS_WITH_VALUE | _INFO and value:
            options += [argument, value]
            next(rest)
        else:
            options.append(argument)
    return options, overrides
