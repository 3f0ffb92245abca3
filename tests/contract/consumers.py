"""Handing samples to a consumer as the receiver does, for the tests."""

from collections.abc import Iterable

import numpy as np

from melissa_like.assembly import Consumer
from melissa_like.records import FormedWindows, Purpose, Sample, SampleKey


def assembled(
    consumer: Consumer,
    key: SampleKey,
    values: Iterable[np.ndarray],
    *,
    attempt: int = 1,
    purpose: Purpose = Purpose.TRAINING,
    time: float = 0.0,
    parameters: Iterable[float] = (0.0,),
    windows: FormedWindows | None = None,
) -> Sample:
    """A sample that is complete in the memory of its consumer, and not taken yet."""
    fields = consumer.reserve(key.simulation, attempt, key.step)
    for target, source in zip(fields, values, strict=True):
        np.copyto(target, source)
    return Sample(
        key=key,
        attempt=attempt,
        purpose=purpose,
        time=time,
        parameters=np.array(parameters, np.float64),
        fields=fields,
        windows=windows,
    )
