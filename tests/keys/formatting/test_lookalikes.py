"""Which names look alike."""

import pytest

from keys.formatting.lookalikes import LONGEST, make_skeleton


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("churn", "сhurn"),  # Cyrillic с
        ("cop", "сор"),  # Cyrillic alone
        ("churn", "ｃｈｕｒｎ"),
        ("churn", "Churn"),
        ("churn", "chum"),
        ("churn-v1", "churn_vl"),
        ("Iris", "iris"),
        ("Iris", "lris"),
        ("model0", "modelO"),
        ("fraud.model", "fraud model"),
        ("می\u200cخواهم", "میخواهم"),
        ("straße", "STRASSE"),
    ],
)
def test_these_names_look_alike(name, other):
    assert make_skeleton(name) == make_skeleton(other)


@pytest.mark.parametrize(
    ("name", "other"),
    [("churn", "churn-2"), ("churn", "turn"), ("модель", "model"), ("模型", "模様"), ("é", "e")],
)
def test_these_do_not(name, other):
    assert make_skeleton(name) != make_skeleton(other)


def test_a_long_skeleton_fits_into_an_index():
    assert len(make_skeleton("ﷺ" * 256)) == LONGEST
