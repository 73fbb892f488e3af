"""What a holder registered, and a model's story."""

import pytest
from django.urls import reverse

from proxy.models import Owner, Registration
from tests.keys.people import queries
from tests.portal.account.test_urls import text
from tests.proxy.ledger_rows import pending, row

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]

LEDGER = "/account/registrations/"
TAGS = {"hokusai_token_id": "abc", "benchmark_metric": "accuracy", "benchmark_value": "0.9"}


def story(holder, name: str, environment: str = "live"):
    return holder.client.get(reverse("account-model"), {"name": name, "environment": environment})


def own(holder, name: str) -> None:
    Owner.objects.create(environment="live", kind="registered_model", name=name, user=holder.user)


def test_the_ledger_says_what_was_asked_and_what_came_of_it(dora):
    row(dora.key, "model-versions.create", "dora-model", version="1", tags=TAGS)
    row(dora.key, "model-versions.create", "dora-model", version="2", tags={"benchmark_value": "much"})
    row(dora.key, "registered-models.set-alias", "dora-model", version="1", detail={"alias": "champion"})
    row(dora.key, "registered-models.delete", "dora-model", "refused_by_mlflow")
    pending(dora.key, "registered-models.rename", "dora-model", new_name="better")

    shown = text(dora.client.get(LEDGER))

    for words in (
        "Registered version 1 of dora-model",
        "Tags complete",
        "Tags malformed",
        "Pointed the alias champion of dora-model to version 1",
        "Refused by MLflow",
        "Renamed dora-model to better",
        "Pending",
    ):
        assert words in shown


def test_every_operation_of_the_ledger_has_words(dora):
    from portal.templatetags.holder import describe_registration
    from proxy.ledger.history import SENTENCES
    from proxy.ledger.writer import is_recorded
    from proxy.routes.table import OPERATIONS

    recorded = {
        operation.name for operation in OPERATIONS if not operation.refused and is_recorded(operation)
    }

    assert recorded - set(SENTENCES) == set()
    for operation in recorded:
        assert "{" not in describe_registration(Registration(operation=operation))


def test_the_ledger_is_read_in_pages_and_filtered(dora):
    for number in range(60):
        row(dora.key, "registered-models.create", f"model {number}")

    first = dora.client.get(LEDGER)
    second = dora.client.get(LEDGER, {"before": first.context["older"]})

    names = [found.object_name for response in (first, second) for found, _ in response.context["rows"]]
    assert names == [*(f"model {number}" for number in reversed(range(60))), "dora-model"]
    assert len(dora.client.get(LEDGER, {"name": "model 7"}).context["rows"]) == 1
    assert len(dora.client.get(LEDGER, {"outcome": "pending"}).context["rows"]) == 0


def test_the_ledger_asks_as_much_for_a_thousand_rows_as_for_ten(dora):
    def fill(count: int) -> None:
        for number in range(count):
            row(dora.key, "model-versions.create", "dora-model", version=str(count + number), tags=TAGS)

    fill(10)
    few = queries(lambda: dora.client.get(LEDGER))
    few_of_story = queries(lambda: story(dora, "dora-model"))
    fill(990)

    assert queries(lambda: dora.client.get(LEDGER)) == few
    assert queries(lambda: story(dora, "dora-model")) == few_of_story


def test_a_models_owner_reads_its_whole_story_without_others_names(dora, mallory):
    own(dora, "dora-model")
    row(mallory.key, "model-versions.create", "dora-model", version="1", tags=TAGS)
    row(None, "model-versions.set-tag", "dora-model", version="1", tags={"hokusai.quarantine": "true"})

    shown = text(story(dora, "dora-model"))

    assert "owned by you" in shown
    for words in (
        "Registered version 1 of dora-model",
        "another user",
        "Tagged version 1 of dora-model: hokusai.quarantine = true",
        "the portal",
        "you",
    ):
        assert words in shown
    assert "mallory" not in shown


def test_a_quarantined_version_is_shown_as_that(dora):
    own(dora, "dora-model")
    row(dora.key, "model-versions.create", "dora-model", version="1", tags=TAGS)
    tags = {"hokusai.quarantine": "key leaked"}
    row(None, "model-versions.set-tag", "dora-model", version="1", actor="quarantine", tags=tags)

    for shown in (text(dora.client.get(LEDGER)), text(story(dora, "dora-model"))):
        assert "In quarantine" in shown
        assert "Tags complete" not in shown
    assert "(key leaked). No key can delete" in shown


def test_who_only_wrote_to_a_model_reads_what_they_did(dora, mallory):
    own(dora, "dora-model")
    row(mallory.key, "model-versions.create", "dora-model", version="1")

    shown = text(story(mallory, "dora-model"))

    assert "This page shows only your own changes" in shown
    assert "Registered version 1 of dora-model" in shown
    assert "Registered the model" not in shown


@pytest.mark.parametrize("name", ["", "no such model", "mallory-model"])
def test_a_model_that_one_has_nothing_to_do_with_is_not_there(dora, mallory, name):
    assert story(dora, name).status_code == 404
    assert story(dora, "dora-model", "test").status_code == 404


@pytest.mark.parametrize("name", ["\0", "no\0such"])
def test_a_name_that_postgresql_cannot_hold_is_not_there(dora, name):
    assert dora.client.get(LEDGER, {"name": name}).status_code == 200
    assert story(dora, name).status_code == 404
    assert story(dora, "name", environment=name).status_code == 404


def test_text_of_callers_is_shown_as_text(dora):
    row(dora.key, "registered-models.create", "<script>alert(1)</script>", tags={"<b>": "<i>"})

    for response in (dora.client.get(LEDGER), story(dora, "<script>alert(1)</script>")):
        assert response.status_code == 200
        assert "<script>alert" not in text(response)


@pytest.mark.parametrize("environment", ["live", "test"])
def test_a_models_story_leads_to_mlflows_pages_which_show_the_live_registry(dora, environment):
    row(dora.key, "model-versions.create", "fraud", version="1", run_id="a" * 32, environment=environment)

    shown = story(dora, "fraud", environment).content.decode()

    for where in (f"/mlflow/#/runs/{'a' * 32}", "/mlflow/#/models/fraud"):
        assert (f'href="{where}"' in shown) == (environment == "live")
    assert "a" * 32 in shown


def test_the_owner_sees_names_of_others_that_look_alike(dora, mallory):
    for holder, name in ((dora, "churn"), (mallory, "сhurn"), (dora, "Churn"), (mallory, "speech")):
        own(holder, name)
        row(holder.key, "registered-models.create", name)
    Owner.objects.create(
        environment="live", kind="registered_model", name="chum", user=mallory.user, is_reserved=True
    )

    for shown in (text(dora.client.get(LEDGER)), text(story(dora, "churn"))):
        assert r"\u0441hurn" in shown
        assert "chum" not in shown, "a former name"
    assert r"churn" in text(mallory.client.get(LEDGER))
    assert "look like" not in text(story(mallory, "speech"))
    row(mallory.key, "registered-models.set-tag", "churn")
    assert "look like" not in text(story(mallory, "churn")), "this model is dora's"
