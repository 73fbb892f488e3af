"""Hokusai's tag rules on a version: complete, missing or malformed, with the reason; they never block."""

import pytest

from keys import actions
from keys.models import User
from proxy.ledger import compliance
from proxy.models import Registration, tag_rules
from tests.proxy.ledger_rows import row


@pytest.fixture
def key():
    return actions.issue(owner=User.objects.create_user("alice"), name="training")[0]


GOOD = {"hokusai_token_id": "msg-ai", "benchmark_metric": "accuracy", "benchmark_value": "0.913"}


def test_all_three_are_complete():
    assert str(tag_rules.check_tags({**GOOD, "other": "x"})) == "complete"


@pytest.mark.parametrize("name", GOOD)
def test_one_that_is_not_there_is_missing(name):
    finding = tag_rules.check_tags({key: value for key, value in GOOD.items() if key != name})

    assert str(finding) == f"missing; {name} is missing"


def test_without_any_all_are_missing():
    finding = tag_rules.check_tags({})

    assert finding.state == "missing"
    assert len(finding.problems) == 3


@pytest.mark.parametrize("value", ["a", "A9", "a-b", "0-0--1", "a" * 64, "-".join("ab")])
def test_a_token_id_is_letters_digits_and_hyphens(value):
    assert tag_rules.check_tags({**GOOD, "hokusai_token_id": value}).state == "complete"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "is empty"),
        ("-a", "starts or ends with a hyphen"),
        ("a-", "starts or ends with a hyphen"),
        ("a_b", "may hold only letters, digits and hyphens"),
        ("a b", "may hold only letters, digits and hyphens"),
        ("größe", "may hold only letters, digits and hyphens"),
        ("a\n", "may hold only letters, digits and hyphens"),
        ("a" * 65, "has 65 characters; 64 are the most"),
    ],
)
def test_anything_else_is_malformed(value, problem):
    assert (
        str(tag_rules.check_tags({**GOOD, "hokusai_token_id": value}))
        == f"malformed; hokusai_token_id {problem}"
    )


@pytest.mark.parametrize("value", ["0", "-1", "+1.5", "1e3", ".5", "5.", "1E-7", "0.913"])
def test_a_benchmark_value_is_a_number(value):
    assert tag_rules.check_tags({**GOOD, "benchmark_value": value}).state == "complete"


@pytest.mark.parametrize("value", ["", "nan", "inf", "1e999", "1,5", "1_000", " 1", "0x10", "١", "90%", "."])
def test_what_python_would_take_for_one_is_not_always(value):
    assert tag_rules.check_tags({**GOOD, "benchmark_value": value}).state == "malformed"


def test_an_empty_metric_is_malformed_and_weighs_more_than_a_missing_value():
    finding = tag_rules.check_tags({"hokusai_token_id": "a", "benchmark_metric": " "})

    assert str(finding) == "malformed; benchmark_metric is empty; benchmark_value is missing"


@pytest.mark.postgresql
@pytest.mark.django_db
class TestLater:
    """Tags set or deleted later count, under every name that the model had since."""

    def finding(self, version):
        return compliance.current_versions([version])[version.pk]

    def test_as_registered(self, key):
        version = row(key, "model-versions.create", "m", version="1", tags=GOOD)

        assert version.tag_rules.state == "complete"
        assert self.finding(version).finding.state == "complete"

    def test_a_tag_set_later_completes_it_and_one_deleted_breaks_it(self, key):
        version = row(key, "model-versions.create", "m", version="1", tags={"benchmark_metric": "a"})
        row(key, "model-versions.set-tag", "m", version="1", tags={"hokusai_token_id": "a"})
        row(key, "model-versions.set-tag", "m", version="1", tags={"benchmark_value": "1"})
        assert self.finding(version).finding.state == "complete"

        row(key, "model-versions.delete-tag", "m", version="1", tags={"benchmark_metric": None})
        assert str(self.finding(version).finding) == "missing; benchmark_metric is missing"
        assert version.tag_rules.state == "missing"

    def test_a_tag_of_another_version_or_one_that_mlflow_refused_does_not_count(self, key):
        version = row(key, "model-versions.create", "m", version="1", tags=GOOD)
        row(key, "model-versions.set-tag", "m", version="2", tags={"benchmark_value": "x"})
        row(key, "model-versions.set-tag", "n", version="1", tags={"benchmark_value": "x"})
        refused = Registration.Outcome.REFUSED
        row(key, "model-versions.set-tag", "m", refused, version="1", tags={"benchmark_value": "x"})

        assert self.finding(version).finding.state == "complete"

    def test_a_model_is_followed_through_renames_until_it_is_deleted(self, key):
        version = row(key, "model-versions.create", "m", version="1", tags=GOOD)
        row(key, "registered-models.rename", "m", new_name="n")
        row(key, "registered-models.create", "m")
        row(key, "model-versions.create", "m", version="1", tags={})
        row(key, "registered-models.rename", "n", new_name="o")
        row(key, "model-versions.set-tag", "m", version="1", tags={"benchmark_value": "x"})
        row(key, "model-versions.set-tag", "o", version="1", tags={"benchmark_value": "2"})
        row(key, "registered-models.delete", "o")
        row(key, "model-versions.set-tag", "o", version="1", tags={"benchmark_value": "y"})

        now = self.finding(version)
        assert (now.name, now.tags["benchmark_value"], now.is_deleted) == ("o", "2", True)

    def test_a_page_of_versions_takes_one_query(self, key, django_assert_num_queries):
        versions = [row(key, "model-versions.create", f"m{number}", version="1") for number in range(20)]

        with django_assert_num_queries(1):  # later writes to any of them
            assert len(compliance.current_versions(versions)) == 20

    def test_a_prompt_and_anything_but_a_version_have_no_rules(self, key):
        assert row(key, "registered-models.create", "m").tag_rules is None
        assert row(key, "model-versions.create", "p", version="1", is_prompt=True).tag_rules is None
