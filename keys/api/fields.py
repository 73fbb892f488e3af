"""Fields of requests and responses: times with a zone, and objects whose names are not fixed."""

import datetime
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from keys.formatting.moments import NO_TIME, NO_ZONE
from keys.models import Organisation

# The types that occur in such an object. Generators turn a schema that allows anything into a value without a type, and
# openapi-python-client does not support a schema that refers to itself.
PLAIN: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": "number"},
    {"type": "boolean"},
    {"type": "array", "items": {"type": "string"}},
]
OBJECT = {"type": "object", "additionalProperties": {"nullable": True, "anyOf": PLAIN}}


class OrganisationField(serializers.SlugRelatedField[Organisation]):
    """An organisation by its slug; by default the one of users without any."""

    default_error_messages = {"does_not_exist": "There is no organisation “{value}”."}

    def __init__(self, **options: Any) -> None:
        options.setdefault("default", Organisation.objects.shared)
        options.setdefault("help_text", "The organisation's slug.")
        super().__init__(slug_field="slug", queryset=Organisation.objects.all(), **options)


class TimeField(serializers.DateTimeField):
    """A time in RFC 3339. Rejects a time without a zone, which the framework would take as UTC without saying so."""

    default_error_messages = {"invalid": NO_TIME, "no_zone": NO_ZONE}

    def enforce_timezone(self, value: datetime.datetime) -> Any:
        if timezone.is_naive(value):
            self.fail("no_zone")
        return super().enforce_timezone(value)


@extend_schema_field(
    {"type": "object", "additionalProperties": {"nullable": True, "anyOf": [*PLAIN, OBJECT]}}
)
class JsonObject(serializers.DictField):
    """An object with texts, numbers, lists and objects of them."""
