"""Keep freed memory in the process while training on CPU."""

import ctypes
import sys

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Ask glibc not to give freed blocks back to the system; return whether it will.

    A training step allocates and frees the same large tensors again and again (logits, their gradients). By default
    each of them is mapped anew and its pages are zeroed at first touch, which takes a tenth of a small model's step and
    more. It concerns the whole process, which from then on keeps the most memory that it has used. Elsewhere than on
    Linux with glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST) and mallopt(_M_TRIM_THRESHOLD, _LARGEST))
