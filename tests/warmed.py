"""What is done once, before the command is forked: the imports, and Hydra's first look at `conf/`.

Each would take a third of a small run's time. No thread may begin here, as it would be missing in the forks.
"""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from importlib import import_module

from forked import leave_path
from hydra import compose, initialize_config_dir

from sapiens_pl.core.configs import config_folder

leave_path(os.environ["PYTHONPATH"].partition(os.pathsep)[2])
# Also what a run imports only when it comes to it; pandas is pyarrow's choice.
for name in (
    *("predict", "make", "run.pose_run", "demo.notes", "demo.accuracy", "models.checkpoints"),
    *("products.overlay", "products.openpose_pictures"),
):
    import_module(f"sapiens_pl.{name}")
for name in ("pandas", "av.video.reformatter", "scipy.optimize", "jinja2", "matplotlib.figure"):
    with suppress(ImportError):  # some are optional
        import_module(name)
with initialize_config_dir(config_folder(), version_base="1.3"):  # its parser learns its grammar by the first use
    compose("predict", ["hydra.run.dir=x", "data.images=x", "data.batch_size=1"], return_hydra_config=True)
gc.collect()
gc.freeze()  # the forks need not look through all that again, nor copy it
