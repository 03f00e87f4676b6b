"""Reads that fail at the system's own call: a library between Python and libc's `read` makes them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import COCO

ROOT = Path(__file__).parent.parent.parent
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* FAULTS: "name times errno;name times errno;" */
static int counts[16];

ssize_t read(int fd, void *buffer, size_t size) {
    static ssize_t (*real)(int, void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "read");
    const char *faults = getenv("FAULTS");
    char link[64], path[4096], name[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    for (int i = 0; faults && *faults && length > 0 && i < 16; i++) {
        int times, number;
        path[length] = 0;
        if (sscanf(faults, "%63s %d %d", name, &times, &number) == 3 && strstr(path, name) && counts[i]++ < times) {
            errno = number;
            return -1;
        }
        faults = strchr(faults, ';');
        if (faults) faults++;
    }
    return real(fd, buffer, size);
}
"""
CHILD = """
import json, sys
from sapiens_pl.core.errors import SapiensError
from sapiens_pl.pictures import read_image, reading
reading._PAUSES_S = (0.01, 0.02)
said = {}
for path in sys.argv[1:]:
    try:
        said[path.rpartition("/")[2]] = list(read_image(path).pixels.shape)
    except SapiensError as error:
        said[path.rpartition("/")[2]] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""
EACCES, EIO, ESTALE, ETIMEDOUT = 13, 5, 116, 110


@pytest.fixture(scope="module")
def shim(tmp_path_factory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler and Linux")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    command = [compiler, "-shared", "-fPIC", "-o", str(folder / "shim.so"), str(folder / "shim.c"), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(done.stderr)
    return folder / "shim.so"


def test_what_passes_at_the_second_or_third_try_is_read(shim, tmp_path):
    """A network mount's EIO, ESTALE, ETIMEDOUT; a refusal by permissions is not asked again."""
    faults = {
        "once": (1, EIO),
        "twice": (2, ESTALE),
        "always": (99, EIO),
        "late": (1, ETIMEDOUT),
        "closed": (1, EACCES),
    }
    paths = [tmp_path / f"{name}.jpg" for name in [*faults, "well"]]
    for path in paths:
        shutil.copy(COCO / "000000000785.jpg", path)
    given = "".join(f"{name}.jpg {times} {number};" for name, (times, number) in faults.items())
    environment = os.environ | {"LD_PRELOAD": str(shim), "FAULTS": given, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CHILD, *map(str, paths)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    shape = said["well.jpg"]
    assert said["once.jpg"] == said["twice.jpg"] == said["late.jpg"] == shape == [425, 640, 3]
    assert said["always.jpg"].startswith("UnreadableImageError") and "Input/output error" in said["always.jpg"]
    assert "3 tries" in said["always.jpg"]
    assert "Permission denied" in said["closed.jpg"] and "tries" not in said["closed.jpg"]
