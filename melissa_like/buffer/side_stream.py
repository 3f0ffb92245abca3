"""`side_stream`: copies beside the training, on a stream of their own."""

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

__all__ = ["side_stream"]


def side_stream(device: torch.device) -> Callable[[], AbstractContextManager[None]]:
    """A context whose work runs on a stream of its own, and has ended when the context ends."""
    if device.type != "cuda":
        return nullcontext
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextmanager
    def work() -> Any:
        with torch.cuda.stream(stream):
            yield
        stream.synchronize()

    return work
