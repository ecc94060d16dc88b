"""Which boot of the machine this is: what was not synced before another one may be lost."""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path

_LINUX = Path("/proc/sys/kernel/random/boot_id")
_GRAIN = 60  # seconds; a set clock moves the estimate, a reboot takes longer


def boot_id() -> str:
    """Return what identifies this boot, or "" where nothing does."""
    try:
        if sys.platform == "win32":
            return _estimate(time.time(), _windows_uptime())
        if sys.platform == "darwin":
            return _sysctl(b"kern.bootsessionuuid")
        return _LINUX.read_text("ascii").strip()
    except (OSError, ValueError, AttributeError):
        return ""


def boot_time() -> float:
    """Return the Unix time at which this boot began; infinity where sleep may not be counted."""
    if sys.platform == "linux":
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - _windows_uptime() if sys.platform == "win32" else math.inf


def _estimate(now: float, uptime: float) -> str:
    return f"about {round((now - uptime) / _GRAIN) * _GRAIN}"


def _windows_uptime() -> float:
    import ctypes

    count = ctypes.CDLL("kernel32").GetTickCount64
    count.restype = ctypes.c_ulonglong
    return float(count()) / 1000.0


def _sysctl(name: bytes) -> str:
    import ctypes

    buffer = ctypes.create_string_buffer(128)
    size = ctypes.c_size_t(len(buffer))
    call = ctypes.CDLL(None, use_errno=True).sysctlbyname
    if call(name, buffer, ctypes.byref(size), None, ctypes.c_size_t(0)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return buffer.value.decode("ascii")
