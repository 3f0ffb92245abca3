"""What a sampler that learns has come to, as a file: JSON, so that nothing is unpickled.

It is written after each draw, before anybody hears of the draw. So the file may be one draw ahead of the journal, never
behind it, and holds that draw as well.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from melissa_like.errors import ConfigurationError

__all__ = ["SAMPLER_FILE", "Snapshot", "encode_state", "read_snapshot", "write_snapshot"]

SAMPLER_FILE = "sampler.json"

_ARRAY, _ITEMS = "__array__", "__items__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A sampler after a draw.

    Attributes:
        first: number of the first simulation that was drawn.
        rows: their parameters.
        state: the sampler's `state_dict`.
    """

    first: int
    rows: tuple[tuple[float, ...], ...]
    state: Mapping[str, Any]


def encode_state(state: Mapping[str, Any]) -> str:
    """A `state_dict` as JSON; arrays, and keys that are numbers, stay what they are; tuples become lists.

    Raises:
        TypeError: it holds something else than numbers, text, lists, mappings and arrays.
    """
    return json.dumps(_encoded(state))


def _encoded(value: Any) -> Any:
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: _encoded(item) for key, item in value.items()}
        return {_ITEMS: [[_encoded(key), _encoded(item)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_encoded(item) for item in value]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {_ARRAY: str(value.dtype), "shape": value.shape, "values": value.ravel().tolist()}
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"it holds a {type(value).__name__}, but only numbers, text, lists, mappings and arrays are kept")


def _decode(value: dict[str, Any]) -> Any:
    if _ARRAY in value:
        return np.array(value["values"], dtype=value[_ARRAY]).reshape(value["shape"])
    return dict(value[_ITEMS]) if _ITEMS in value else value


def write_snapshot(run_dir: Path, snapshot: Snapshot) -> None:
    """Replace the file of a study; when this returns, the disk has it.

    Raises:
        OSError: it cannot be written.
        TypeError: the state holds what cannot be kept.
    """
    drawn = f'"first": {snapshot.first}, "rows": {json.dumps(snapshot.rows)}'
    text = f'{{{drawn}, "state": {encode_state(snapshot.state)}}}'
    temporary = run_dir / f"{SAMPLER_FILE}.tmp"
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(run_dir / SAMPLER_FILE)


def read_snapshot(run_dir: Path) -> Snapshot | None:
    """The file of a study; None if nothing was drawn.

    Raises:
        ConfigurationError: it is damaged.
    """
    path = run_dir / SAMPLER_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=_decode)
        rows = tuple(tuple(float(value) for value in row) for row in content["rows"])
        return Snapshot(first=int(content["first"]), rows=rows, state=dict(content["state"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(
            f"{path}, from which the sampler goes on, cannot be read ({error}): put it back from a copy"
        ) from None
