"""`{% load explain %}{% explain call.reason as explained %}{{ explained.happened|markdown }}`."""

from django import template
from django.utils.safestring import SafeString

from portal.pages import documents
from portal.pages.explanations import Explanation, explanations

register = template.Library()


@register.simple_tag
def explain(reason: str) -> Explanation | None:
    """What happened and what to do; None for a reason that is not the portal's."""
    return explanations().get(reason)


@register.filter
def markdown(text: str) -> SafeString:
    """A line of the documents: code and links."""
    return documents.inline(text)
