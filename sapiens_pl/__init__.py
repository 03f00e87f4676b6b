"""Batched Sapiens pose estimation on PyTorch Lightning."""

from sapiens_pl.core import interrupts

interrupts.end_at_once()

from importlib import import_module  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

from sapiens_pl.core import opencv  # noqa: E402

opencv.check_opencv()

from sapiens_pl.core import showing  # noqa: E402

if TYPE_CHECKING:
    from sapiens_pl.core.structures import PoseResult
    from sapiens_pl.detection.finding import Detector
    from sapiens_pl.estimator import PoseEstimator, inference_topdown
    from sapiens_pl.models.keypoint_sets.maps import convert_keypoints
    from sapiens_pl.opened_run import open_run
    from sapiens_pl.products.data_frames import results_table

__version__ = "0.1.0"
__all__ = [
    "Detector", "PoseEstimator", "PoseResult", "convert_keypoints", "inference_topdown", "open_run", "results_table",
]  # fmt: skip
_WHERE = {
    "Detector": "detection.finding",
    "PoseEstimator": "estimator",
    "PoseResult": "core.structures",
    "convert_keypoints": "models.keypoint_sets.maps",
    "inference_topdown": "estimator",
    "open_run": "opened_run",
    "results_table": "products.data_frames",
}


def __getattr__(name: str) -> Any:
    """Imports torch and Lightning only when they are used: processes that read pictures start quickly."""
    if name in _WHERE:
        return getattr(import_module(f"sapiens_pl.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


showing.drawn_by(lambda: import_module("sapiens_pl.products.shown").draw_result)
