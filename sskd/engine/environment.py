"""What a result was computed with: versions, machine, memory."""

import contextlib
import ctypes
import gc
import platform
import re
import resource
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

import sskd

__all__ = [
    "emulates_bf16",
    "environment",
    "forget_peak_memory",
    "peak_memory_bytes",
    "settle_process",
]


def environment(device: str, threads: int) -> dict[str, Any]:
    """Versions and machine, for the foot of a report.

    Args:
        device: Where the tensors were.
        threads: Of one process.
    """
    on_gpu = device.startswith("cuda")
    return {
        "sskd": sskd.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "system": platform.system(),
        "machine": torch.cuda.get_device_name() if on_gpu else platform.machine(),
        "device": device,
        "threads": threads,
    }


def emulates_bf16(device: str) -> bool:
    """Whether bfloat16 is imitated there: on a CPU, products take tens of times as long.

    Args:
        device: Where the tensors would be.
    """
    if device.startswith("cuda"):
        return not torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX", "AVX2")


def settle_process(threads: int) -> None:
    """What every process that computes begins with: its threads, and that it keeps freed memory.

    A training step asks for the same memory again. If glibc returned it to the kernel, it would
    come back page by page, with a fault each, thousands a step. Other allocators are left alone.

    Args:
        threads: Of torch.
    """
    torch.set_num_threads(threads)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, mmap_threshold, most = -1, -3, 2**31 - 1  # malloc.h
        mallopt(mmap_threshold, 32 * 2**20)  # the largest that glibc takes
        mallopt(trim_threshold, most)


def forget_peak_memory(device: str) -> None:
    """From here on ``peak_memory_bytes`` is of what follows, where the system can do that.

    Freed memory goes back first: what follows would take it again without being seen.

    Args:
        device: Where the tensors are.
    """
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
        if trim is not None:
            trim(0)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", "ascii")


def peak_memory_bytes(device: str) -> int:
    """The most memory so far: of the GPU since it was last reset, else resident in this process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would begin with what the parent process had
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text("utf-8"))
        if found is not None:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
