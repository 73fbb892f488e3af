"""`{% load audit %}`: statuses, results and registrations in words and colours, for the admin's pages of the usage log
and the ledger."""

import json

from django import template
from django.contrib.admin.models import LogEntry

from keys.actions.history import who_did as name_of_actor
from keys.lists.colours import ALERT_COLOURS, DELIVERY_COLOURS
from proxy.ledger import history
from proxy.lists.colours import OUTCOME_COLOURS, RULES_COLOURS, STATUS_COLOURS
from proxy.models import Registration
from proxy.models.calls import CLIENT_GONE, Call
from proxy.routes.objects import KIND_LABELS

register = template.Library()
STATUS_WORDS = {1: "going on", 2: "successful", 3: "redirected"}


@register.filter
def status_colour(status: int) -> str:
    return STATUS_COLOURS.get(status // 100, "info")


@register.filter
def result_words(call: Call) -> str:
    """The result in words, because a colour alone is not enough: "refused" only if the portal refused the call."""
    if call.status == CLIENT_GONE:
        return "caller gone"
    if call.status < 400:
        return STATUS_WORDS.get(call.status // 100, "")
    return "refused" if call.is_refused else "failed at MLflow"


@register.filter
def outcome_colour(outcome: str) -> str:
    return OUTCOME_COLOURS.get(outcome, "warning")


@register.filter
def rules_colour(state: str) -> str:
    return RULES_COLOURS.get(state, "warning")


@register.filter
def alert_colour(kind: str) -> str:
    return ALERT_COLOURS.get(kind, "info")


@register.filter
def delivery_colour(state: str) -> str:
    return DELIVERY_COLOURS.get(state, "info")


@register.filter
def who_did(entry: LogEntry) -> str:
    return name_of_actor(entry)


@register.filter
def kind_words(kind: str) -> str:
    return KIND_LABELS.get(kind, kind).replace("_", " ")


@register.filter
def operation_words(operation: str) -> str:
    return history.describe_operation(operation)


@register.filter
def describe_registration(row: Registration) -> str:
    """The request in words: "Registered version 3 of vision"."""
    return history.describe(row)


@register.filter
def finding_of(findings: dict[int, object], row: Registration) -> object:
    """The finding about this row, from findings by the row's id."""
    return findings.get(row.pk)


@register.filter
def as_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
