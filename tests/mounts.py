"""Disks of the tests' own: mounted where only this process and those that it starts see them."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000


def mount_disk(where: Path | str, options: str) -> None:
    """Mounts a tmpfs, for this process and its children; it has no threads yet (`forked.in_a_fork`).

    Raises:
        PermissionError: this system lets nobody mount.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) and libc.unshare(CLONE_NEWNS | CLONE_NEWUSER):
        raise PermissionError("no mount namespaces here")
    _mount("--make-rprivate", "/")
    _mount("-t", "tmpfs", "-o", options, "tmpfs", str(where))


def change_disk(where: Path | str, options: str) -> None:
    """Mounts it with other options, with what is on it."""
    _mount("-o", f"remount,{options}", str(where))


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(done.stderr.strip())
