"""Fields of filters that accept exactly what they document."""

import datetime
from typing import Any

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django_filters import rest_framework as filters
from django_filters.fields import IsoDateTimeField


class UtcField(IsoDateTimeField):  # type: ignore[misc]
    """A time in ISO 8601, as UTC. PostgreSQL rejects some offsets that Python accepts, such as -19:33."""

    def to_python(self, value: Any) -> datetime.datetime | None:
        try:
            at: datetime.datetime | None = super().to_python(value)
            return at.astimezone(datetime.UTC) if at else None
        except OverflowError:
            raise ValidationError("This is beyond the years 1 to 9999.") from None


class TimeFilter(filters.IsoDateTimeFilter):  # type: ignore[misc]
    """A time in ISO 8601."""

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
