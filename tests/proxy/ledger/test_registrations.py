"""The ledger's rows as pages and commands ask for them."""

import pytest

from keys import actions
from keys.models import Namespace, User
from proxy.models import Registration
from tests.proxy.ledger_rows import row

pytestmark = pytest.mark.postgresql


@pytest.fixture
def bobs_key(key):
    return actions.issue(owner=User.objects.create_user("bob"), name="bob's")[0]


def story(name: str) -> list[str]:
    rows = Registration.objects.effective().of_model(Namespace.shared("live"), name).order_by("id")
    return [f"{found.operation.partition('.')[2]} {found.object_name}" for found in rows]


def test_the_story_of_a_model_goes_on_under_its_new_name(key):
    row(key, "registered-models.create", "old")
    row(key, "model-versions.create", "old", version="1")
    row(key, "registered-models.rename", "old", new_name="new")
    row(key, "registered-models.set-tag", "new")
    row(key, "registered-models.create", "old")
    row(key, "registered-models.rename", "new", new_name="newest")

    assert story("newest") == ["create old", "create old", "rename old", "set-tag new", "rename new"]
    assert story("old") == ["create old", "create old", "rename old", "create old"]


def test_lives_of_a_name_before_the_model_got_it_are_another_story(key):
    row(key, "registered-models.create", "name")
    row(key, "registered-models.delete", "name")
    row(key, "registered-models.create", "name")
    row(key, "registered-models.rename", "name", new_name="other")

    assert story("other") == ["create name", "rename name"]
    assert story("name") == ["create name", "delete name", "create name", "rename name"]


def test_a_rename_that_mlflow_refused_leads_nowhere(key):
    row(key, "registered-models.create", "a")
    row(key, "registered-models.rename", "a", "refused_by_mlflow", new_name="b")

    assert story("b") == []


def test_rows_are_found_by_user_key_time_and_outcome(key, bobs_key):
    first = row(key, "registered-models.create", "m")
    second = row(bobs_key, "registered-models.create", "n")
    third = row(key, "registered-models.create", "n", "refused_by_mlflow")
    rows = Registration.objects

    assert set(rows.by_user(key.owner)) == {first, third}
    assert list(rows.by_key(bobs_key)) == [second]
    assert list(rows.between(second.at, third.at)) == [second]
    assert list(rows.with_outcome("refused_by_mlflow")) == [third]


def test_pages_go_back_in_time_from_a_row(key, django_assert_num_queries):
    rows = [row(key, "registered-models.create", f"m{number}") for number in range(5)]

    with django_assert_num_queries(2):  # two pages
        first = Registration.objects.by_key(key).page(2)
        second = Registration.objects.by_key(key).page(2, before=first[-1].pk)

    assert [found.object_name for found in first + second] == ["m4", "m3", "m2", "m1"]
    assert rows[0] not in first + second
