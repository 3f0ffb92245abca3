"""Keeps a bounded selection of the samples between the receiver that puts and the loader that draws.

A buffer is a *selector* (which sample is drawn), an *evictor* (which one gives way when it is full) and a *gate* (when
a draw or a put must wait) over one `Storage`; `fifo`, `firo` and `reservoir` are three recipes of the same
`SampleBuffer`, and yours is a function with the same first arguments. Policies see slot indices only, the storage sees
bytes only (in the host's memory, or in that of the device that trains on them), and one lock guards the indices; it
is not held while a sample is copied.

| recipe | draw | removed when drawn | evicted when full | a put waits | a draw waits |
|---|---|---|---|---|---|
| `fifo` | oldest | yes | never | full | empty |
| `firo` | uniform | after `pseudo_epochs` draws | never | full | size ≤ watermark |
| `reservoir` | uniform, with replacement | no | a random seen sample | full of unseen | size < watermark |

When reception is over the watermark is lifted and every draw removes its sample, until the buffer is empty: each sample
is trained on at least once. With `views_per_sample` nothing is removed; the number of draws is fixed instead.

A draw is provisional until `settle` says that its training step has ended: until then its slots are pinned, its samples
are not seen, and a checkpoint counts it as not made.

A checkpoint `keep`s all samples of one moment: they are copied out piece by piece, off the training path, and those of
a piece may give way again as soon as it is copied.

Where each simulation has sizes or static fields of its own, samples lie packed in one arena of bytes (`RaggedStorage`),
and static fields once for all samples that refer to them. The capacity is then in bytes: seen samples give way until a
new one fits, and the watermark is a share of the bytes unless it is given in samples.

Any thread may call. Never imported here: zmq, hydra, the transport, the study.

Names are imported when they are first used: the launcher asks a recipe which settings it takes, and needs no torch for
that.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from melissa_like.buffer.batch_memory import BatchMemory
    from melissa_like.buffer.copying import RowsMemory, SavedRows
    from melissa_like.buffer.draws import Draw, Offer, Population
    from melissa_like.buffer.kept import KeptSamples
    from melissa_like.buffer.ragged_memory import RaggedMemory
    from melissa_like.buffer.ragged_storage import RaggedStorage
    from melissa_like.buffer.recipes import fifo, firo, reservoir
    from melissa_like.buffer.sample_buffer import BufferClosedError, SampleBuffer
    from melissa_like.buffer.state import BufferState
    from melissa_like.buffer.storage import DeviceStorage, HostStorage, Storage

__all__ = [
    "BatchMemory",
    "BufferClosedError",
    "BufferState",
    "DeviceStorage",
    "Draw",
    "HostStorage",
    "KeptSamples",
    "Offer",
    "Population",
    "RaggedMemory",
    "RaggedStorage",
    "RowsMemory",
    "SampleBuffer",
    "SavedRows",
    "Storage",
    "fifo",
    "firo",
    "reservoir",
]

_MODULES = {
    "batch_memory": ("BatchMemory",),
    "copying": ("RowsMemory", "SavedRows"),
    "draws": ("Draw", "Offer", "Population"),
    "kept": ("KeptSamples",),
    "ragged_memory": ("RaggedMemory",),
    "ragged_storage": ("RaggedStorage",),
    "recipes": ("fifo", "firo", "reservoir"),
    "sample_buffer": ("BufferClosedError", "SampleBuffer"),
    "state": ("BufferState",),
    "storage": ("DeviceStorage", "HostStorage", "Storage"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
