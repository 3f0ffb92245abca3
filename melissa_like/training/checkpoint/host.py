"""What a rank saves beside its samples: copies in host memory, and the states of the random generators."""

import copy
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["on_host", "random_states", "restore_random_states"]


def on_host(state: Any) -> Any:
    """A copy of a state that does not change any more: tensors in host memory, dictionaries and lists of their own.

    Blocks until a device has computed what is copied.
    """
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        copied = copy.copy(state)  # of a module's state it keeps the versions of the layers
        for name, value in state.items():
            copied[name] = on_host(value)
        return copied
    if isinstance(state, tuple) and type(state) is tuple:
        return tuple(map(on_host, state))
    if isinstance(state, list):
        return [*map(on_host, state)]
    return copy.deepcopy(state)


def random_states(device: torch.device) -> dict[str, Any]:
    """Of Python, numpy, torch, and the device of this rank; all that `torch.load` reads with `weights_only`."""
    kind, key, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [str(kind), torch.from_numpy(np.asarray(key).astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        "device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_random_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Go on from them; that of a device only on one of the same kind."""
    version, numbers, gauss_next = states["python"]
    random.setstate((version, tuple(numbers), gauss_next))
    kind, key, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, key.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(states["torch"])
    if states["device"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(states["device"], device)
