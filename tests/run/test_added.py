"""Keys added with `+` are read by something, or refused; none is passed over in silence."""

from __future__ import annotations

import pytest
from composed import composed
from hydra import initialize_config_dir
from slowness import a_third

from sapiens_pl.core.configs import config_folder
from sapiens_pl.core.errors import ConfigError
from sapiens_pl.run.added import refuse_unread
from sapiens_pl.run.make_settings import make_settings


def looked_at(*overrides):
    cfg = composed("predict", overrides)
    with initialize_config_dir(config_folder(), version_base="1.3"):
        refuse_unread(cfg, "predict", overrides)


@pytest.mark.parametrize(
    "added, words",
    a_third(
        [
            ("+batch_size=4", "batch_size is not a setting; did you mean data.batch_size?"),
            ("++batch_size=4", "batch_size is not a setting; did you mean data.batch_size?"),
            ("+output.formatz=[csv]", "output.formatz is not a setting; did you mean output.formats?"),
            ("+a.b=3", "a.b is not a setting; see conf/"),
            ("+model.foo=1", "model.foo is not a setting"),
            ("+trainer.foo=1", "trainer.foo is not a setting"),
            ("+data.foo=1", "data.foo is not a setting"),
            ("+model.network.foo=1", "model.network.foo is not a setting"),
            ("+tracking.foo=1", "tracking.foo is not a setting"),
            ("+products.json.foo=1", "products.json.foo is not a setting"),
        ]
    ),
)
def test_what_nothing_reads_is_refused(added, words, monkeypatch):
    monkeypatch.setattr("sys.argv", ["predict", added])
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")):
        looked_at(added)


@pytest.mark.parametrize(
    "added",
    a_third(
        ["++data.batch_size=4", "+trainer.max_time=null", "+hydra.job.name=x", "+products.mine._target_=my.Product"]
    ),
)
def test_what_is_read_may_be_added(added):
    looked_at(added)


def test_what_an_interpolation_takes_is_read():
    looked_at("+half=4", "data.batch_size=${half}")


@pytest.mark.slow
def test_make_reads_what_it_is_given(tmp_path, monkeypatch):
    for added in ("+foo=1", "+output.foo=1"):
        monkeypatch.setattr("sys.argv", ["make", added])
        with pytest.raises(ConfigError, match="output.foo is not a setting"):
            make_settings(tmp_path, [added])
