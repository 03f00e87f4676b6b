"""Predicts where people who were seen before are now: a Kalman filter with constant velocity over real times.

Lengths are in heights of the person's own box, times in seconds, so nothing depends on resolution or frame rate. Both
coordinates of a centre have the same errors, so one covariance of position and velocity a person is enough; a box keeps
the size that it was last seen with.

Legend: T people.
"""

from __future__ import annotations

import numpy as np

_SEEN = 0.05**2
"""Variance of a box's centre, heights squared; as in SORT's descendants (Wojke et al., arXiv 1703.07402: height/20)."""
_TURNED = 1.0**2
"""Growth of the velocity's variance, (heights/s)^2 a second: that paper's height/160 a frame, at 30 frames a second."""
_UNKNOWN_SPEED = 2.0**2
"""Variance of the velocity of a person seen once, (heights/s)^2; ten times that paper's height/160 a frame."""


class Motion:
    """The people as they were last seen, in the order in which they were added."""

    def __init__(self) -> None:
        self._centers, self._velocities, self._sizes = np.empty((0, 2)), np.empty((0, 2)), np.empty((0, 2))
        self._covariances = np.empty((0, 3))  # of position, of both, of velocity
        self._seconds = np.empty(0)

    def __len__(self) -> int:
        return len(self._seconds)

    def unseen(self, seconds: float) -> np.ndarray:
        """(T,) seconds since each was last seen; never negative."""
        return np.maximum(seconds - self._seconds, 0.0)

    def shifts(self, seconds: float) -> np.ndarray:
        """(T, 2) px: how far each has moved since."""
        return self._velocities * self.unseen(seconds)[:, None]

    def bboxes(self, seconds: float) -> np.ndarray:
        """(T, 4) xyxy: where each is expected."""
        centers = self._centers + self.shifts(seconds)
        return np.concatenate([centers - self._sizes / 2, centers + self._sizes / 2], axis=1)

    def errors(self, seconds: float) -> np.ndarray:
        """(T,) heights: the standard error of where each one's centre is expected."""
        return np.sqrt(_passed(self._covariances, self.unseen(seconds))[:, 0])

    def see(self, rows: np.ndarray, bboxes: np.ndarray, seconds: float) -> None:
        """Some of them are seen again, in these (n, 4) xyxy boxes."""
        elapsed = self.unseen(seconds)[rows]
        centers, sizes = _centers_and_sizes(bboxes)
        position, both, velocity = _passed(self._covariances[rows], elapsed).T
        gain, gain_velocity = position / (position + _SEEN), both / (position + _SEEN)
        expected = self._centers[rows] + self._velocities[rows] * elapsed[:, None]
        surprise = centers - expected
        self._centers[rows] = expected + gain[:, None] * surprise
        self._velocities[rows] += gain_velocity[:, None] * surprise
        self._covariances[rows] = np.stack(
            [(1 - gain) * position, (1 - gain) * both, velocity - gain_velocity * both], axis=1
        )
        self._sizes[rows], self._seconds[rows] = sizes, seconds

    def add(self, bboxes: np.ndarray, seconds: float) -> None:
        """People who are seen for the first time, in these (n, 4) xyxy boxes."""
        centers, sizes = _centers_and_sizes(bboxes)
        self._centers = np.concatenate([self._centers, centers])
        self._velocities = np.concatenate([self._velocities, np.zeros_like(centers)])
        self._sizes = np.concatenate([self._sizes, sizes])
        first = np.tile([_SEEN, 0.0, _UNKNOWN_SPEED], (len(bboxes), 1))
        self._covariances = np.concatenate([self._covariances, first])
        self._seconds = np.concatenate([self._seconds, np.full(len(bboxes), seconds)])

    def keep(self, which: np.ndarray) -> None:
        """Forgets the others; (T,) bool."""
        self._centers, self._velocities, self._sizes = self._centers[which], self._velocities[which], self._sizes[which]
        self._covariances, self._seconds = self._covariances[which], self._seconds[which]


def _passed(covariances: np.ndarray, elapsed: np.ndarray) -> np.ndarray:
    """(n, 3): of position, of both, of velocity, after (n,) seconds in which velocities have changed."""
    position, both, velocity = covariances.T
    return np.stack(
        [
            position + 2 * elapsed * both + elapsed**2 * velocity + _TURNED * elapsed**3 / 3,
            both + elapsed * velocity + _TURNED * elapsed**2 / 2,
            velocity + _TURNED * elapsed,
        ],
        axis=1,
    )


def _centers_and_sizes(bboxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (bboxes[:, :2] + bboxes[:, 2:]) / 2, bboxes[:, 2:] - bboxes[:, :2]
