"""`{% load explain %}{% explain call.reason as explained %}{{ explained.happened }}`: see portal.explanations."""

import html
import re
from dataclasses import dataclass

from django import template
from django.utils.safestring import SafeString, mark_safe

from portal.explanations import explanations

register = template.Library()
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")


@dataclass(frozen=True, kw_only=True)
class Explained:
    happened: SafeString
    remedy: SafeString


@register.simple_tag
def explain(reason: str) -> Explained | None:
    """What happened and what to do; None for a reason that is not the portal's."""
    found = explanations().get(reason)
    return Explained(happened=shown(found.happened), remedy=shown(found.remedy)) if found else None


def shown(markdown: str) -> SafeString:
    """One line of docs/errors.md: its code as code, its links as their words."""
    return mark_safe(CODE.sub(r"<code>\1</code>", html.escape(LINK.sub(r"\1", markdown), quote=False)))  # noqa: S308
