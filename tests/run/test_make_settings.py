"""Settings of `make`: those given, else those of the run, else the defaults."""

from __future__ import annotations

import json

import pytest

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.run.make_settings import make_settings
from sapiens_pl.tracking.of_records import TrackingOfRun

ONE_EURO = "sapiens_pl.tracking.smoothing.OneEuro"
OF_RUN = {
    "tracking": {"_target_": "sapiens_pl.tracking.tracks.Tracks", "max_lost_seconds": 3.0},
    "smoothing": {"_target_": ONE_EURO, "beta": 0.5, "unknown": 1},
}


@pytest.fixture
def settings(tmp_path):
    def settings(*given: str, of_run: dict | None = None):
        if of_run is not None:
            (tmp_path / "run.json").write_text(json.dumps({"config": of_run}))
        return make_settings(tmp_path, given)

    return settings


@pytest.mark.slow
def test_tracking_and_smoothing_are_as_given_or_as_the_run_had_them(settings):
    cfg = settings()
    assert cfg.tracking.max_lost_seconds == 1.0 and "Unsmoothed" in cfg.smoothing._target_
    cfg = settings(of_run=OF_RUN)
    assert cfg.tracking.max_lost_seconds == 3.0 and cfg.tracking.high_score == 0.5
    assert cfg.smoothing._target_ == ONE_EURO and cfg.smoothing.beta == 0.5 and "unknown" not in cfg.smoothing
    cfg = settings("smoothing.min_cutoff=2", "tracking=none")
    assert cfg.smoothing.min_cutoff == 2 and cfg.smoothing.beta == 0.5 and "GivenIds" in cfg.tracking._target_
    cfg = settings("smoothing=one_euro", "tracking=tracks", "tracking.min_overlap=0.1")
    assert cfg.smoothing.beta == 20 and cfg.tracking.max_lost_seconds == 1.0 and cfg.tracking.min_overlap == 0.1


def test_nothing_is_built_that_only_the_folder_of_a_run_names(settings):
    strange = {
        "tracking": {"_target_": "os.system"},
        "smoothing": {"_target_": ONE_EURO, "beta": {"_target_": "os.abort"}},
    }
    with pytest.raises(ConfigError) as refused:
        settings(of_run=strange)
    assert "tracking of the run is os.system, which is not in conf/tracking/; give" in str(refused.value)
    cfg = settings("tracking=none")
    with pytest.raises(ConfigError) as refused:
        TrackingOfRun(cfg)
    assert "smoothing.beta=" in str(refused.value) and "must be a number" in str(refused.value)
