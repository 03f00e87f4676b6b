"""An OpenCV that cannot be loaded: one sentence, from commands and from Python, with what really lacks hidden."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

COMMAND = [sys.executable, "-m", "sapiens_pl.predict"]
IMPORT = [sys.executable, "-c", "import sapiens_pl"]
NAMESPACE = next(
    (
        words
        for words in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"])
        if subprocess.run([*words, "mount", "--bind", "/dev/null", "/dev/null"], capture_output=True).returncode == 0
    ),
    None,
) if os.path.exists("/usr/bin/unshare") else None  # fmt: skip
needs_namespace = pytest.mark.skipif(NAMESPACE is None, reason="mounting is not permitted here")


def loaded(library: str) -> str:
    """The file of a library of the system that OpenCV has loaded."""
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if f"/{library}" in line]
    if not lines:
        pytest.skip(f"this OpenCV needs no {library}")
    return lines[0].split()[-1]


def hidden(mount: str, arguments: list[str], cwd: Path) -> subprocess.CompletedProcess:
    assert NAMESPACE is not None
    script = [*NAMESPACE, "sh", "-c", f'{mount} && exec "$@"', "sh", *arguments]
    return subprocess.run(script, capture_output=True, text=True, timeout=120, cwd=cwd)


@pytest.mark.slow
@needs_namespace
@pytest.mark.parametrize("library", ["libGL.so.1", "libgthread-2.0.so.0"])
def test_a_server_without_a_library_of_the_system(tmp_path, library):
    mount = f"mount --bind /dev/null {loaded(library)}"
    remedies = "libgl1 libglib2.0-0", "pip uninstall opencv-python; pip install 'opencv-python-headless>=4.11,<5'"
    for module in ("predict", "models", "demo.draw"):
        done = hidden(mount, [sys.executable, "-m", f"sapiens_pl.{module}"], tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert done.stderr.startswith("error: ") and library in done.stderr
        assert all(remedy in done.stderr for remedy in remedies)
    imported = hidden(mount, IMPORT, tmp_path)
    assert imported.returncode == 1
    assert imported.stderr.splitlines()[-1] == done.stderr.strip().replace("error: ", "ImportError: ", 1)


@pytest.mark.slow
@needs_namespace
def test_the_doctor_and_the_installed_command_say_what_lacks_there(tmp_path):
    mount = f"mount --bind /dev/null {loaded('libGL.so.1')}"
    installed = tmp_path / "sapiens-pl"  # as pip writes it
    installed.write_text("import sys\nfrom sapiens_pl.cli import main\nsys.exit(main())\n")
    helped = hidden(mount, [sys.executable, str(installed), "--help"], tmp_path)
    assert helped.returncode == 0 and "doctor" in helped.stdout and not helped.stderr
    posing = hidden(mount, [sys.executable, str(installed), "predict"], tmp_path)
    assert posing.returncode == 2 and posing.stderr.startswith("error: OpenCV cannot be loaded"), posing.stderr
    looked = hidden(mount, [sys.executable, str(installed), "doctor", "--no-trial"], tmp_path)
    fault = looked.stdout.index("FAULT OpenCV            OpenCV cannot be loaded (")
    assert "libGL.so.1" in looked.stdout and looked.returncode == 1
    assert "-> Install the system libraries" in looked.stdout[fault:], looked.stdout


@pytest.mark.slow
@needs_namespace
def test_a_build_of_which_a_folder_is_left(tmp_path):
    """As `pip uninstall opencv-python` leaves it after the headless build was installed over it."""
    done = hidden(f"mount -t tmpfs none {Path(cv2.__file__).parent}", COMMAND, tmp_path)
    assert done.returncode == 2 and "only partly installed" in done.stderr and "--force-reinstall" in done.stderr, (
        done.stderr
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_no_opencv_at_all(tmp_path):
    code = "import sys; sys.modules['cv2'] = None; import sapiens_pl"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "ImportError: OpenCV is not installed; pip install 'opencv-python>=4.11,<5'" in done.stderr


@pytest.mark.slow
def test_a_build_for_another_numpy(tmp_path):
    (tmp_path / "cv2.py").write_text(
        "import sys\nprint('A module that was compiled using NumPy 1.x cannot be run in NumPy 2.4', file=sys.stderr)\n"
        "raise ImportError('numpy.core.multiarray failed to import')"
    )
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=env)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "OpenCV and NumPy do not fit together (numpy.core.multiarray failed to import)" in done.stderr
