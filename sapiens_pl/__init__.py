"""Batched Sapiens pose estimation on PyTorch Lightning."""

from sapiens_pl.estimator import PoseEstimator, inference_topdown
from sapiens_pl.structures import PoseResult

__version__ = "0.1.0"
__all__ = ["PoseEstimator", "PoseResult", "inference_topdown"]
