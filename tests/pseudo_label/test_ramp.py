import pytest

from semiseg.pseudo_label.ramp import linear_ramp


@pytest.mark.parametrize(("step", "value"), [(0, 0.05), (15_000, 0.125), (30_000, 0.20), (50_000, 0.20)])
def test_the_line_ends_where_it_should(step, value):
    assert linear_ramp(step, start=0.05, end=0.20, until=30_000) == pytest.approx(value)


def test_a_ramp_of_no_length_is_its_end():
    assert linear_ramp(0, start=0.1, end=1.0, until=0) == 1.0
