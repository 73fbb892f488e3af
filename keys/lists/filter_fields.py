"""Fields of filters that accept exactly what they document."""

import datetime
from typing import Any

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django_filters import rest_framework as filters
from django_filters.fields import IsoDateTimeField
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field

from keys.formatting.moments import NO_TIME, NO_ZONE


class UtcField(IsoDateTimeField):  # type: ignore[misc]
    """A time in RFC 3339, as UTC. PostgreSQL rejects some offsets that Python accepts, such as -19:33. A time without a
    zone is rejected, too."""

    default_error_messages = {"invalid": NO_TIME}

    def to_python(self, value: Any) -> datetime.datetime | None:
        if is_naive(value):
            raise ValidationError(NO_ZONE)
        try:
            at: datetime.datetime | None = super().to_python(value)
            return at.astimezone(datetime.UTC) if at else None
        except OverflowError:
            raise ValidationError("This is beyond the years 1 to 9999.") from None


def is_naive(value: Any) -> bool:
    """Whether this is the text of a time without a zone, such as 2026-12-05."""
    try:
        at = parse_datetime(value.strip()) if isinstance(value, str) else None
    except ValueError:
        return False
    return at is not None and timezone.is_naive(at)


@extend_schema_field(OpenApiTypes.DATETIME)
class TimeFilter(filters.IsoDateTimeFilter):  # type: ignore[misc]
    """A time in RFC 3339."""

    field_class = UtcField


class TrueOrFalse(forms.Field):
    """`true` or `false`; Django's own field treats any other text as "either"."""

    def to_python(self, value: Any) -> bool | None:
        if value in self.empty_values:
            return None
        if value not in ("true", "false"):
            raise ValidationError("Send true or false.")
        return bool(value == "true")


class TrueOrFalseFilter(django_filters.BooleanFilter):  # type: ignore[misc]
    field_class = TrueOrFalse
