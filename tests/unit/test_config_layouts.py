"""From declarations in YAML to the layout: extents, what is sent once, what is the same in all simulations."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from melissa_like.config import layout_of
from melissa_like.config.schema import FieldConfig, SolverConfig, StaticConfig
from melissa_like.errors import ConfigurationError

FIELDS = {
    "displacement": FieldConfig(shape=[2, "num_points"], components=2),
    "drag": FieldConfig(shape=[1]),
}


def layout_with(**static: StaticConfig) -> Any:
    return layout_of(SolverConfig(name="mesh", fields=FIELDS, static=static, parameters={"a": {}}))


def test_a_name_in_a_shape_is_an_extent() -> None:
    layout = layout_with(
        edges=StaticConfig(shape=[2, "num_edges"], components=2, dtype="int64", indexes="num_points"),
        material=StaticConfig(shape=[8, 8]),
    )
    assert layout.extents == ("num_points", "num_edges")
    assert [spec.shown_shape for spec in (*layout.fields, *layout.static)] == [
        "(2, num_points)",
        "(1,)",
        "(2, num_edges)",
        "(8, 8)",
    ]
    assert layout.static[0].indexes == "num_points"
    assert layout.study_wide == ()


@pytest.mark.parametrize("as_file", [False, True])
def test_what_has_a_value_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_file: bool) -> None:
    monkeypatch.chdir(tmp_path)
    value: Any = [[0, 1, 2], [1, 2, 0]]
    np.save(tmp_path / "edges.npy", value)
    given = StaticConfig(value="edges.npy" if as_file else value, dtype="int32", components=2, indexes=3)
    layout = layout_with(edges=given)
    (edges,) = layout.study_wide
    assert layout.static == ()
    assert (edges.spec.shape, edges.spec.components, edges.spec.indexes) == ((2, 3), 2, 3)
    assert edges.values.dtype == np.int32
    assert edges.values.tolist() == value
    assert not edges.values.flags.writeable
    assert layout_with(edges=given) == layout


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (StaticConfig(shape=[2.5]), r"solver.static: field 's' has the shape \[2.5\]: write numbers of points"),
        (StaticConfig(shape=[None]), "the shape .'null'.: write numbers of points"),
        (StaticConfig(shape=[]), r"the shape \[\]"),
        (StaticConfig(shape=["num_points", 2]), "for the last one, as in .num_points."),
        (StaticConfig(shape=["num points"]), "for the last one, as in .num_points."),
        (StaticConfig(shape=[3, 3, "num_points"], components=3), "an extent is the only axis of the grid"),
        (StaticConfig(shape=["num_edges"], dtype="int64", indexes="points"), "'points', which is no extent of a field"),
        (StaticConfig(shape=["num_edges"], indexes="num_points"), "are whole numbers, write int32 or int64"),
        (StaticConfig(shape=["num_edges"], dtype="int64", indexes=0), "indexes 0: write the extent whose points"),
        (StaticConfig(shape=["num_points"], value=[1, 2]), "is the same in all simulations, so write its shape in num"),
        (StaticConfig(shape=[3], value=[1, 2]), r"has values of shape \(2,\) and dtype float32, expected \(3,\)"),
        (StaticConfig(value=[1.5], dtype="int32"), "of dtype float64 and shape .1,. that int32 cannot hold"),
        (StaticConfig(value=[300], dtype="uint8"), "that uint8 cannot hold"),
        (StaticConfig(value=[float("inf")]), "is not finite in float32"),
        (StaticConfig(value=[1e300]), "is not finite in float32"),
        (StaticConfig(value=[[1], [1, 2]]), "a value that is no array"),
        (StaticConfig(value="nothing.npy"), "'nothing.npy', which cannot be read from .*/nothing.npy .*No such file"),
        (StaticConfig(value=[0, 3], dtype="int64", indexes=3), "indexes 3 points, and its values go from 0 to 3"),
        (StaticConfig(value=[0, -1], dtype="int64", indexes=3), "go from -1 to 0: points are numbered from 0"),
        (StaticConfig(value=[0], dtype="complex64"), "dtype 'complex64': write one of float32"),
    ],
)
def test_a_static_field_that_cannot_be_is_refused(spec: StaticConfig, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        layout_with(s=spec)


def test_a_name_is_declared_once() -> None:
    with pytest.raises(ConfigurationError, match=r"solver.fields: a field is declared twice"):
        layout_with(drag=StaticConfig(shape=[2]))


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    for number in range(2):
        np.save(path, np.full(3, number))
        os.utime(path, ns=(number, number))
        assert layout_with(x=StaticConfig(value=str(path))).study_wide[0].values.tolist() == [number] * 3
