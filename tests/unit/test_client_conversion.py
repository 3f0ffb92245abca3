"""Every value arrives exact up to rounding, or is refused by name: nothing is changed in silence on the way."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from melissa_like.client import Part
from melissa_like.client.conversion import LostValueError, fill_from, plain_array
from melissa_like.client.parts import PartChecker
from melissa_like.client.team import SoloTeam
from melissa_like.errors import SolverError
from melissa_like.records import FieldSpec


def sent(array: np.ndarray, dtype: str) -> np.ndarray:
    target = bytearray(max(1, array.size) * np.dtype(dtype).itemsize)
    fill_from(array, np.dtype(dtype), memoryview(target))
    return np.frombuffer(target, dtype, count=array.size).reshape(array.shape)


class Exporting:
    """An array of another library: only `__array__`, as little as there was before numpy 2."""

    def __init__(self, array: np.ndarray, mask: object = None) -> None:
        self._array = array
        if mask is not None:
            self.mask = mask

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self._array


#: Whatever the shape: the vectorized loop, its remainder, and the loops for strides.
SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "one": lambda a: a[:1],
    "short": lambda a: a[:7],
    "long": lambda a: a,
    "strided": lambda a: np.repeat(a, 3)[::3],
    "reversed": lambda a: a[::-1],
    "rows": lambda a: a[:1000].reshape(40, 25),
    "transposed": lambda a: a[:1000].reshape(40, 25).T,
    "swapped": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1),
    "read-only": lambda a: np.broadcast_to(a[:1], (33,)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("source", "dtype", "value"),
    [
        ("float64", "float32", 1e39),
        ("float64", "float32", -1e300),
        ("float64", "float16", 65520.0),
        ("float64", "float16", -1e300),
        ("float32", "float16", 1e5),
        ("longdouble", "float64", np.longdouble("1e4000")),
        ("longdouble", "float32", np.longdouble("-1e40")),
        ("int64", "int32", 2**31),
        ("int64", "int32", -(2**31) - 1),
        ("uint64", "uint8", 2**63),
        ("uint16", "uint8", 256),
    ],
)
def test_what_a_dtype_cannot_hold_is_refused_by_its_place(source: str, dtype: str, value: Any, shape: str) -> None:
    values = np.zeros(5001, source)
    for position in (0,) if shape in ("one", "read-only") else (0, 3, 6):
        values[:] = 0
        values[position] = value
        array = SHAPES[shape](values)
        with pytest.raises(LostValueError) as caught:
            sent(array, dtype)
        assert array[caught.value.index] == caught.value.value == value
        assert caught.value.number == np.count_nonzero(array)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("source", "dtype", "values"),
    [
        ("float64", "float32", [3.4028234e38, -1e-320, 0.1, -0.0]),
        ("float64", "float32", [np.inf, -np.inf, np.nan]),
        ("float64", "float16", [65504.0, 1e-12, np.inf, 65519.9]),
        ("float32", "float16", [65504.0, 6e-8, np.nan]),
        ("longdouble", "float64", [np.longdouble(1) / 3, np.longdouble("1e-4000")]),
        ("float16", "float64", [65504.0, np.inf]),
        ("float64", "float64", [1e300, 5e-324, np.nan]),
        ("int64", "int32", [2**31 - 1, -(2**31)]),
        ("int8", "int64", [-128, 127]),
        ("uint64", "uint8", [0, 255]),
        ("int64", "int64", [2**63 - 1, -(2**63)]),
    ],
)
def test_what_a_dtype_holds_is_rounded_and_nothing_else(source: str, dtype: str, values: list[Any], shape: str) -> None:
    array = SHAPES[shape](np.resize(np.array(values, source), 5001))
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        received = sent(array, dtype)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(received, array.astype(dtype))


def test_an_empty_array_has_nothing_to_lose() -> None:
    assert sent(np.empty((0, 3), "int64"), "int32").size == 0
    assert sent(np.empty((0, 3)), "float32").size == 0


FIELDS = {"u": "float32", "count": "int32", "flag": "uint8"}
MASKED = np.ma.masked_array([1.0, 1e20, 3.0, 1e20], [False, True, False, True])


def checked(name: str, value: Any, fill: float | None = None) -> np.ndarray:
    """The values that go on their way, of a field of four."""
    spec = FieldSpec(name=name, shape=(4,), dtype=FIELDS[name], fill_value=fill)
    checker = PartChecker((spec,), SoloTeam())
    checker.first_step({name: value})
    (part,) = checker.check({name: value})
    return sent(part.array, FIELDS[name])


@pytest.mark.parametrize(
    ("name", "value", "filled"),
    [
        ("u", MASKED, [1, 7, 3, 7]),
        ("u", Part(MASKED, (0,)), [1, 7, 3, 7]),
        ("u", [np.ma.masked_array(0.0, True), np.ma.masked_array(2.0), 3.0, 4.0], [7, 2, 3, 4]),
        ("u", (1.0, np.ma.masked, 3.0, 4.0), [1, 7, 3, 4]),
        ("u", Exporting(np.ones(4), np.array([False, True, False, False])), [1, 7, 1, 1]),
        ("u", Exporting(MASKED), [1, 7, 3, 7]),
        ("u", Part(Exporting(MASKED), (0,)), [1, 7, 3, 7]),
        ("u", [1.0, Exporting(MASKED[1]), np.float64(3), Exporting(np.array(4.0))], [1, 7, 3, 4]),
        ("count", np.ma.masked_equal(np.arange(4), 2), [0, 1, 7, 3]),
        ("flag", np.ma.masked_array(np.zeros(4, "uint8"), mask=True), [7, 7, 7, 7]),
    ],
)
def test_masked_entries_are_refused_or_filled_with_the_declared_value(name: str, value: Any, filled: list[int]) -> None:
    with pytest.raises(SolverError, match=rf"field '{name}': rank 0 .* masked .*solver.fields.{name}.fill_value"):
        checked(name, value)
    assert checked(name, value, 7.0).tolist() == filled


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("u", np.ma.masked_array(np.arange(4.0))),
        ("u", np.ma.masked_array(np.arange(4.0), mask=[False] * 4)),
        ("u", [0.0, 1.0, 2.0, 3.0]),
        ("u", torch.arange(4.0)),
        ("u", torch.arange(4.0, dtype=torch.float16)),
        ("u", Exporting(np.arange(4.0))),
        ("u", Exporting(np.arange(4.0), mask=lambda: None)),
        ("u", memoryview(np.arange(4.0))),
        ("u", np.arange(4.0).view(np.recarray)),
        ("u", np.arange(4, dtype=">f8")),
        ("u", np.arange(4, dtype="longdouble")),
        ("count", range(4)),
        ("count", np.arange(4, dtype=">i2")),
        ("flag", np.arange(4, dtype=np.uint64)),
    ],
)
def test_whatever_holds_numbers_is_sent(name: str, value: Any) -> None:
    np.testing.assert_array_equal(checked(name, value), np.arange(4))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.ones(4, complex), "dtype complex128 was sent, it is declared float32"),
        (np.ones(4, int), "dtype int64 was sent, it is declared float32"),
        (np.ones(4, bool), "dtype bool"),
        (np.ones(4, object), "dtype object"),
        (np.array(["1"] * 4), "dtype <U1"),
        (np.array([b"1"] * 4), "dtype [|]S1"),
        (np.zeros(4, "datetime64[s]"), r"dtype datetime64\[s\]"),
        (np.zeros(4, "timedelta64[s]"), r"dtype timedelta64\[s\]"),
        (np.zeros(4, "f4,f4"), "dtype "),
        (np.ma.masked_array(np.zeros(4, "f4,f4"), mask=True), "dtype "),
        (np.ma.masked_array(np.full(4, None, object), mask=False), "dtype object"),
        (np.float32(3.0), r"an array of shape \(\) was sent"),
        (3.0, r"an array of shape \(\) was sent"),
        ("1234", "sent a str that is no array"),
        (b"1234", "sent a bytes that is no array"),
        ({0: 1.0, 1: 2.0}, "sent a dict that is no array"),
        ({0: 1.0}.values(), "sent a dict_values that is no array"),
        (map(float, range(4)), "sent a map that is no array"),
        ((x for x in range(4)), "sent a generator that is no array"),
        ([1.0, None, 2.0, 3.0], "dtype object"),
        ([[1.0], [2.0, 3.0]], "sent a list that is no array"),
        (torch.ones(4, requires_grad=True), "sent a Tensor that is no array .*requires grad"),
        (torch.ones(4, dtype=torch.bfloat16), "sent a Tensor that is no array"),
        (torch.ones(4, device="meta"), "sent a Tensor that is no array"),
        (torch.ones(4).to_sparse(), "sent a Tensor that is no array"),
    ],
)
def test_what_holds_no_numbers_of_this_kind_is_named(value: Any, words: str) -> None:
    with pytest.raises(SolverError, match=words) as caught:
        checked("u", value)
    assert "field 'u'" in str(caught.value)


def test_the_mask_of_an_array_within_a_list_of_lists_is_found() -> None:
    rows = [[np.ma.masked_array([1.0, 2.0], [False, True])], [np.array([3.0, 4.0])]]
    np.testing.assert_array_equal(plain_array(rows, np.float32(7)), [[[1.0, 7.0]], [[3.0, 4.0]]])


def test_an_array_of_the_right_dtype_is_looked_at_and_not_copied() -> None:
    array = np.arange(4, dtype="float32")
    assert plain_array(array, None) is array
    assert np.shares_memory(plain_array(np.ma.masked_array(array), None), array)


def test_a_device_without_memory_for_the_copy_is_no_breach_of_contract() -> None:
    class Full:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            raise MemoryError("no memory for the copy from the device")

    with pytest.raises(MemoryError, match="no memory"):
        checked("u", Full())


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        ("float32", 1e39),
        ("float32", float("nan")),
        ("float16", 7e4),
        ("uint8", -1),
        ("uint8", 256),
        ("int32", 0.5),
        ("int64", 2.0**63),
        ("int32", float("inf")),
    ],
)
def test_a_fill_value_that_the_dtype_cannot_hold_is_refused(dtype: str, fill: float) -> None:
    with pytest.raises(ValueError, match=r"field 'u' has the fill_value .* finite number that " + dtype):
        FieldSpec(name="u", shape=(4,), dtype=dtype, fill_value=fill)
