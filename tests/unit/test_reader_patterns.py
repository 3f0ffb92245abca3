"""What the name of a file says, and which files are looked for."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from melissa_like.client.readers.pattern import Pattern, files_that_match, natural_order


@pytest.mark.parametrize(
    ("pattern", "name", "said"),
    [
        ("u_{step}.npy", "u_0010.npy", {"step": 10}),
        ("u_{step}.npy", "u_x.npy", None),
        ("u_{step}.npy", "u_1.npy.tmp", None),
        ("u_{step}.npy", "out/u_1.npy", None),
        ("out/{field}_{step}.npy", "out/velocity_x_7.npy", {"field": "velocity_x", "step": 7}),
        ("u{time}.dat", "u-1.5e-03.dat", {"time": -0.0015}),
        ("u{time}.dat", "u.5.dat", {"time": 0.5}),
        ("processor{rank}/{time}/U", "processor3/0.25/U", {"rank": 3, "time": 0.25}),
        ("s_{step}/u_{step}.h5", "s_3/u_3.h5", {"step": 3}),
        ("s_{step}/u_{step}.h5", "s_3/u_4.h5", None),
        ("s_{step}_t{time}.csv", "s_3_t0.75.csv", {"step": 3, "time": 0.75}),
        ("run.*/a+b.npy", "run.17/a+b.npy", {}),
        ("run.*/a+b.npy", "runs17/aab.npy", None),
        ("./out/u.npy", "out/u.npy", {}),
    ],
)
def test_what_a_name_says(pattern: str, name: str, said: dict[str, object] | None) -> None:
    placed = Pattern(pattern).match(name)
    if said is None:
        assert placed is None
    else:
        assert placed is not None
        told = {kind: getattr(placed, kind) for kind in ("step", "time", "field", "rank")}
        assert {kind: value for kind, value in told.items() if value is not None} == said


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("u_{steps}.npy", "'{steps}', which is no placeholder: there are {step}, {time}, {order}"),
        ("u_{step:04d}.npy", "'{step:04d}', which is no placeholder"),
        ("u_{step.npy", "'{', which is no placeholder"),
        ("/tmp/u_{step}.npy", "no path inside the folder"),
        ("../u_{step}.npy", "no path inside the folder"),
        ("", "no path inside the folder"),
        ("{order}_{step}.npy", "both {step} and {order}"),
    ],
)
def test_a_pattern_that_says_nothing(pattern: str, told: str) -> None:
    with pytest.raises(ValueError) as caught:
        Pattern(pattern)
    assert told in str(caught.value)


@given(st.lists(st.integers(min_value=0), unique=True))
def test_numbers_in_names_count_as_numbers(numbers: list[int]) -> None:
    pattern = Pattern("out{order}.dat")
    placed = [pattern.match(f"out_{number}_of.dat") for number in numbers]
    assert [p.name for p in sorted(placed, key=lambda p: p.key)] == [f"out_{n}_of.dat" for n in sorted(numbers)]


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=5))
def test_any_names_have_an_order(names: list[str]) -> None:
    assert len(sorted(map(natural_order, names))) == len(names)


def test_only_files_that_match_are_found(tmp_path: Path) -> None:
    for name in ("p0/1/U", "p0/2/U", "p0/2/V", "p1/1/U", "p1/1/deep/U", "q1/1/U", "p2"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "p1/2/U").mkdir(parents=True)

    def found(pattern: str) -> list[str]:
        return sorted(placed.name for placed in files_that_match(tmp_path, Pattern(pattern)))

    assert found("p{rank}/{time}/U") == ["p0/1/U", "p0/2/U", "p1/1/U"]
    assert found("p0/2/*") == ["p0/2/U", "p0/2/V"]
    assert found("p0/2/V") == ["p0/2/V"]
    assert found("p0/2") == found("missing/{step}") == found("missing") == []
