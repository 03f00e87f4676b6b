"""Batched Sapiens pose estimation on PyTorch Lightning."""

from sapiens_pl.core import interrupts

interrupts.end_at_once()

from typing import TYPE_CHECKING, Any  # noqa: E402

from sapiens_pl.core import opencv  # noqa: E402

opencv.check_opencv()

if TYPE_CHECKING:
    from sapiens_pl.core.structures import PoseResult
    from sapiens_pl.detection.finding import Detector
    from sapiens_pl.estimator import PoseEstimator, inference_topdown
    from sapiens_pl.models.keypoint_sets.maps import convert_keypoints

__version__ = "0.1.0"
__all__ = ["Detector", "PoseEstimator", "PoseResult", "convert_keypoints", "inference_topdown"]


def __getattr__(name: str) -> Any:
    """Imports torch and Lightning only for those who use them: processes that read pictures start in a moment."""
    if name == "PoseResult":
        from sapiens_pl.core.structures import PoseResult

        return PoseResult
    if name == "convert_keypoints":
        from sapiens_pl.models.keypoint_sets.maps import convert_keypoints

        return convert_keypoints
    if name in __all__:
        from sapiens_pl import estimator

        return getattr(estimator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
