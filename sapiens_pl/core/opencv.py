"""One sentence for an OpenCV that cannot be loaded: on servers its usual build lacks system libraries."""

from __future__ import annotations

import contextlib
import io
import os
import sys

from sapiens_pl.core.interrupts import module_to_run
from sapiens_pl.core.wording import one_line

_INSTALLED = "sapiens-pl"
_WITHOUT = ("sapiens_pl.cli", "sapiens_pl.doctor")
"""Commands that need none: one only starts the others, and one tells what lacks."""
_BUILDS = "'opencv-python>=4.11,<5'", "'opencv-python-headless>=4.11,<5'"


def check_opencv() -> None:
    """Checks whether OpenCV can be used, before anything else is imported.

    A command that needs it ends here with exit code 2.

    Raises:
        ImportError: it cannot be used, and the package is imported.
    """
    module = module_to_run()
    if module in _WITHOUT or (module is None and os.path.basename(sys.argv[0]) == _INSTALLED):
        return
    complaint = opencv_complaint()
    if complaint is None:
        return
    if module is None:
        raise ImportError(complaint)
    _tell(f"error: {complaint}\n")
    sys.exit(2)


def opencv_complaint() -> str | None:
    """Why OpenCV cannot be used and what helps, or None."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):  # NumPy prints a page about modules of another NumPy
            import cv2
    except ModuleNotFoundError as error:
        if error.name != "cv2":
            return f"OpenCV needs {error.name}, which is not installed; pip install {error.name}."
        return f"OpenCV is not installed; pip install {_BUILDS[0]} (on a server {_BUILDS[1]})."
    except Exception as error:
        return _sentence(one_line(error, 300))
    if not hasattr(cv2, "warpAffine"):
        return (
            "OpenCV is only partly installed, as happens when one of its two builds is removed after the other was "
            f"installed; pip install --force-reinstall --no-deps {_BUILDS[1]}."
        )
    _tell(said.getvalue())
    return None


def _tell(text: str) -> None:
    """The standard streams are not protected yet: this one may be closed, or lead to a full disk."""
    if text and sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)


def _sentence(reason: str) -> str:
    if "numpy" in reason.lower() or "_ARRAY_API" in reason:
        remedy = f"pip install --upgrade --force-reinstall {_BUILDS[0]} (on a server {_BUILDS[1]})"
        return f"OpenCV and NumPy do not fit together ({reason}); {remedy}."
    return (
        f"OpenCV cannot be loaded ({reason}); install the system libraries that it needs (Debian, Ubuntu: apt-get "
        "install libgl1 libglib2.0-0), or the build that needs none: pip uninstall opencv-python; pip install "
        f"{_BUILDS[1]}."
    )
