"""Import paths: followed in one place, refused with the key that named them, written down again."""

import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from melissa_like import plugins
from melissa_like.errors import ConfigurationError
from melissa_like.plugins import accepted_settings, factory_of, locate, look_in, make, recipe_of


def pair(first: object, second: object = None) -> tuple[object, object]:
    return first, second


def anything(**options: object) -> object:
    return options


PAIR = f"{__name__}.pair"


class Outer:
    """A name inside a class."""

    @staticmethod
    def inner() -> str:
        return "inner"


def test_a_path_may_lead_into_a_class() -> None:
    assert locate(f"{__name__}.Outer.inner", "key")() == "inner"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nowhere.at_all", "nowhere"),
        ("melissa_like.models.Nothing", "melissa_like.models has no 'Nothing'"),
        ("melissa_like.nothing.Net", "melissa_like has no 'nothing'"),
        ("not a path", "not an import path"),
        ("", "not an import path"),
    ],
)
def test_a_path_that_leads_nowhere_is_told_with_its_key(path: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match="model") as refused:
        locate(path, "model")
    assert words in str(refused.value)


def test_a_module_that_is_a_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Research code often reads its arguments where it is imported; that must not end the launcher in silence."""
    (tmp_path / "a_program_of_its_own.py").write_text("import sys\nsys.exit(2)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=r"model is .* a_program_of_its_own ends the program .*__main__"):
        locate("a_program_of_its_own.Net", "model")


def exits() -> None:
    raise SystemExit("no licence")


def test_what_exits_when_it_is_made_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"training.schedule cannot be made from .*SystemExit: no licence"):
        make({"_target_": f"{__name__}.exits"}, "training.schedule")


@pytest.mark.parametrize("target", [5, {}, {"_target_": 3}, {"_target_": "math.pi"}])
def test_what_is_no_plug_in(target: object) -> None:
    with pytest.raises(ConfigurationError, match="training\\.loss is"):
        factory_of(target, "training.loss")


def test_nested_plug_ins_are_made_first_or_only_bound() -> None:
    inner = {"_target_": PAIR, "first": 1}
    made = make({"_target_": PAIR, "first": inner, "second": [{**inner, "_partial_": True}]}, "key")
    assert made[0] == (1, None)
    assert made[1][0]() == (1, None)


def test_a_call_that_raises_names_the_key_and_the_reason() -> None:
    with pytest.raises(ConfigurationError, match=r"model cannot be made from .*pair.*: TypeError: .*'first'"):
        make({"_target_": PAIR}, "model")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"_target_": PAIR, "frist": 1}, r"key has the options frist .* it takes first, second \(the nearest: first\)"),
        ({"_target_": f"{__name__}.Outer", "wide": 1}, "key has the options wide .* it takes no options$"),
        ({"_target_": PAIR, "first": {"_target_": PAIR, "x": 1}}, "key.first has the options x"),
        ({"_target_": PAIR, "second": [{"_target_": PAIR, "x": 1}]}, r"key.second\[0\] has the options x"),
    ],
)
def test_an_option_that_is_not_taken_is_told_before_anything_is_called(target: object, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        factory_of(target, "key")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("json.lods", "json has no 'lods' (the nearest: loads, load, "),
        ("json.decoder.JSONDecodr", "json.decoder has no 'JSONDecodr' (the nearest: JSONDecoder"),
        ("json.JSONDecoder.decod", "json.JSONDecoder has no 'decod' (the nearest: decode"),
        ("json.decodr.JSONDecoder", "json has no 'decodr' (the nearest: decoder"),
        ("json.qqqq", "json has no 'qqqq'"),
    ],
)
def test_a_misspelt_path_is_told_what_is_near(path: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        locate(path, "model")
    assert words in str(refused.value)


def test_which_settings_a_plug_in_takes() -> None:
    assert accepted_settings(pair) == {"first", "second"}
    assert accepted_settings(anything) is None


def test_a_recipe_gives_the_callable_back() -> None:
    written = recipe_of(functools.partial(pair, first={"a": [1, 2.5, None]}, second=functools.partial(pair, first=3)))
    first, second = factory_of(written, "key")()
    assert first == {"a": [1, 2.5, None]}
    assert second() == (3, None)


@pytest.mark.parametrize("target", [lambda: None, functools.partial(pair, 1), functools.partial(pair, first=object())])
def test_what_cannot_be_written_down(target: functools.partial[object]) -> None:
    with pytest.raises(TypeError):
        recipe_of(target)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a user works, in front of everything else as `python -m` puts it."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(plugins, "_own_folders", [])
    known = set(sys.modules)
    look_in(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def test_modules_of_the_users_folder_come_last(folder: Path) -> None:
    assert sys.path.index(str(folder)) == len(sys.path) - 1
    for name in ("sndhdr", "numpy", "mine_alone"):
        (folder / f"{name}.py").write_text("def solve():\n    return 'mine'\n")
    (folder / "mine_too.py").write_text("import mine_alone\nfrom numpy import pi\nsolve = mine_alone.solve\n")
    assert locate("numpy.pi", "key") > 3
    assert locate("mine_alone.solve", "key")() == locate("mine_too.solve", "key")() == "mine"


@pytest.mark.parametrize("name", ["this", "antigravity"])
def test_a_plug_in_may_have_the_name_of_a_standard_module_that_nobody_uses(folder: Path, name: str) -> None:
    (folder / f"{name}.py").write_text("def solve():\n    return 'mine'\n")
    assert locate(f"{name}.solve", "key")() == "mine"
    assert recipe_of(locate(f"{name}.solve", "key")) == {"_target_": f"{name}.solve"}


@pytest.mark.parametrize("name", ["queue", "random", "numpy", "msgspec", "pytest"])
def test_a_plug_in_that_is_hidden_by_a_module_in_use_is_told_which_file_was_taken(folder: Path, name: str) -> None:
    (folder / f"{name}.py").write_text("def solve():\n    return 'mine'\n")
    (folder / "other.py").write_text(f"from {name} import solve\n")
    for path in (f"{name}.solve", "other.solve"):
        with pytest.raises(ConfigurationError) as refused:
            locate(path, "solver.solve._target_")
        message = str(refused.value)
        assert f"{sys.modules[name].__file__} was taken" in message
        assert f"{folder / name}.py, which has the same name, was not: rename your file" in message


def test_a_plug_in_that_raises_is_not_half_there(folder: Path) -> None:
    (folder / "this.py").write_text("raise ArithmeticError('mine')\n")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="ArithmeticError: mine"):
            locate("this.solve", "key")
