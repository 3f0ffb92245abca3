"""What it costs a client that no value is changed in silence, against the conversion alone.

Both convert the same array into the same memory; ours also refuses what the storage dtype cannot hold. Floats are
looked at while they are converted, integers before, if their dtype is wider; an array of the storage dtype is only
copied.
"""

from collections.abc import Callable

import numpy as np

from melissa_like.client.conversion import fill_from
from tests.benchmarks.measure import Row, interleave, print_rows, rate_of, ratio, shown

ROUNDS = 7
CASES = (("float64", "float32"), ("float32", "float32"), ("float64", "float16"), ("int64", "int32"), ("int64", "int64"))
SIZES = (2**10, 2**16, 2**20)


def contestants(source: str, dtype: str, size: int) -> dict[str, Callable[[], float]]:
    """Elements per second of each."""
    array = (100 * np.random.default_rng(0).random(size)).astype(source)
    target = memoryview(bytearray(size * np.dtype(dtype).itemsize))

    def convert() -> None:
        np.copyto(np.frombuffer(target, dtype, count=size).reshape(array.shape), array, casting="same_kind")

    return {
        "ours": lambda: rate_of(lambda: fill_from(array, np.dtype(dtype), target), size, at_least_s=0.1),
        "convert": lambda: rate_of(convert, size, at_least_s=0.1),
    }


def main() -> None:
    """The table."""
    rows = []
    for source, dtype in CASES:
        for size in SIZES:
            rates = interleave(contestants(source, dtype, size), ROUNDS)
            rows.append(
                Row(
                    {
                        "from": source,
                        "to": dtype,
                        "elements": f"{size:,}",
                        "ours, µs": shown([1e6 * size / rate for rate in rates["ours"]]),
                        "conversion alone, µs": shown([1e6 * size / rate for rate in rates["convert"]]),
                        "ours / alone": ratio(rates, "ours", "convert"),
                    }
                )
            )
    print_rows("conversion to the storage dtype", rows)
