"""Whether reads are shared between organisations, for every page: `{% load isolation %}`."""

from django import template
from django.conf import settings

register = template.Library()


@register.simple_tag
def reads_are_shared() -> bool:
    """With ISOLATION=off: MLflow then has no workspaces, and nothing keeps organisations apart."""
    return bool(settings.ISOLATION == "off")
