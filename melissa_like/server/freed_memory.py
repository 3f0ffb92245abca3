"""Freed memory stays with the process.

A training step frees its gradients and activations and asks for the same sizes again. By default the C library returns
blocks of that size to the system and gets them back page by page, each a fault and a page of zeros: about 200 faults
and a quarter of the step with a small network. Torch's CPU allocator has no cache of its own.
"""

import ctypes

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
#: The largest that glibc takes: bigger blocks always come from the system and return to it.
_LARGEST_KEPT_BYTES = 32 * 2**20
_NEVER = 2**31 - 1
_GROWTH_BYTES = 16 * 2**20


def keep_freed_memory() -> bool:
    """Keep freed blocks of up to 32 MiB in this process: its resident memory stays at the largest it needed.

    Returns:
        False where the C library is not glibc; nothing is changed there.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _GROWTH_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)
