import math

import pytest

from semiseg.errors import ConfigError
from semiseg.pseudo_label.thresholds import resolve_thresholds

NAMES = ("background", "Badan Air", "Jalan")


@pytest.mark.parametrize(
    "spec",
    [
        [None, 0.6, 0.0],
        {0: None, 1: 0.6, 2: 0.0},
        {"0": None, "1": 0.6, "2": 0},
        {"Jalan": 0.0, "background": None, "Badan Air": 0.6},
        {"Jalan": 0.0, 0: None, "1": 0.6},
    ],
)
def test_every_way_to_write_them_gives_the_same(spec):
    assert resolve_thresholds(spec, 0.65, NAMES) == [math.inf, 0.6, 0.0]


def test_null_gives_every_class_the_one_threshold():
    assert resolve_thresholds(None, 0.65, NAMES) == [0.65, 0.65, 0.65]


def test_a_class_called_by_a_number_is_found_by_its_name():
    assert resolve_thresholds({"1": 0.1, "0": 0.2}, 0.65, ("1", "0")) == [0.1, 0.2]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([0.5, 0.6], r"has 2 values and the data 3 classes .*give 3 values.*class_thresholds=null"),
        ({0: 0.5}, r"leaves out Badan Air, Jalan: .*class_thresholds=null"),
        ({0: 0.5, 1: 0.5, "Jalam": 0.5}, r"names Jalam, .*Did you mean Jalan\?"),
        ({0: 0.5, 1: 0.5, 3: 0.5}, r"names 3, .*ids 0 to 2"),
        ({0: 0.5, "background": 0.5, 1: 0.5, 2: 0.5}, r"names class 0 \(background\) twice"),
        ([0.5, 1.0, 0.5], r"of Badan Air is 1.0: give a value from 0 to below 1"),
        ([0.5, -0.1, 0.5], r"of Badan Air is -0.1"),
        ([0.5, math.nan, 0.5], r"of Badan Air is nan"),
        ([0.5, "high", 0.5], r"of Badan Air is high"),
        ([0.5, True, 0.5], r"of Badan Air is True"),
        (0.5, r"class_thresholds=0.5: give a list, a mapping, or null"),
        ("0.5", r"class_thresholds=0.5: give a list"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(spec, message):
    with pytest.raises(ConfigError, match=message):
        resolve_thresholds(spec, 0.65, NAMES)
