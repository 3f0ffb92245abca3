"""The reference of the keys is complete and up to date."""

import re
from pathlib import Path

import pytest

from melissa_like.config.keys import CONFIGS, Key, choices_of, groups
from melissa_like.config.limits import Limits
from melissa_like.config.reference import as_text, with_tables

KEYS = {key.name: key for group in groups() for key in group.keys}


def test_the_page_of_the_configs_is_up_to_date() -> None:
    page = (CONFIGS / "README.md").read_text()
    assert with_tables(page) == page, "run: python -m melissa_like.config.reference --write"


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_every_key_says_what_it_means_and_what_it_may_be(key: Key) -> None:
    assert len(key.meaning) > 10, f"{key.name} has no line under Attributes in config/schema.py"
    assert key.allowed
    if key.name.endswith("_s"):
        assert key.unit == "seconds"


def test_every_group_and_its_files_are_there() -> None:
    folders = {path.parent.name for path in CONFIGS.glob("*/*.yaml")} - {"experiment"}
    assert {group.name for group in groups() if group.name} == folders
    assert choices_of("buffer") == ("fifo", "firo", "reservoir")


def test_a_key_as_it_is_shown() -> None:
    port, size, task = KEYS["transport.port"], KEYS["training.batch_size"], KEYS["training.task"]
    assert (port.default, port.allowed) == ("0", "a whole number, 0 to 65534")
    assert (size.default, size.unit, size.allowed) == ("64", "samples", "a whole number, 1 or more")
    assert task.default == "{_target_: melissa_like.training.Direct}"
    assert KEYS["run_dir"].default.startswith("${new_folder:runs/")  # of no group: config.yaml has it
    assert KEYS["training.checkpoint.interval_s"].default == "60.0"
    assert KEYS["solver.fields.NAME.dtype"].allowed.startswith("one of float32, float64")


def test_the_text_names_every_key_and_the_users_files(tmp_path: Path) -> None:
    (tmp_path / "solver").mkdir()
    (tmp_path / "solver" / "wave.yaml").write_text("name: wave\n")
    text = as_text("", [tmp_path])
    assert all(name in text for name in KEYS)
    assert re.search(r"solver = empty, .*heat2d, .*wave \(default: heat2d\)", " ".join(text.split()))
    assert "training.batch_size" not in as_text("buffer")


@pytest.mark.parametrize(
    ("limits", "good", "bad", "words"),
    [
        (Limits(least=1), 1, 0, "1 or more"),
        (Limits(least=0, most=5), 5, 6, "0 to 5"),
        (Limits(above=0), 0.1, 0.0, "a number above 0"),
        (Limits(above=0), 1.0, float("nan"), "a number above 0"),
        (Limits(choices=("a", "b")), "b", "c", "one of a, b"),
    ],
)
def test_limits(limits: Limits, good: object, bad: object, words: str) -> None:
    assert limits.allow(good)
    assert not limits.allow(bad)
    assert limits.words == words
