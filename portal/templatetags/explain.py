"""`{% load explain %}{% explain call.reason as explained %}{{ explained.happened }}`: see portal.explanations."""

from dataclasses import dataclass

from django import template
from django.utils.safestring import SafeString

from portal.documents import inline
from portal.explanations import explanations

register = template.Library()


@dataclass(frozen=True, kw_only=True)
class Explained:
    happened: SafeString
    remedy: SafeString


@register.simple_tag
def explain(reason: str) -> Explained | None:
    """What happened and what to do; None for a reason that is not the portal's."""
    found = explanations().get(reason)
    return Explained(happened=inline(found.happened), remedy=inline(found.remedy)) if found else None
