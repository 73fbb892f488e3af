"""SCIM filters as conditions of Django's, as far as the rows have columns for them. Pure."""

from collections.abc import Mapping

from django.db.models import Q
from scim2_models.path.expressions import (
    CompareOperator,
    Comparison,
    FilterNode,
    LogicalExpr,
    LogicalOperator,
)

# By attribute, the column and its lookup.
USER_COLUMNS = {
    "username": "name__iexact",
    "externalid": "external_id",
    "id": "user__public_id",
    "groups.value": "groups__public_id",
}
GROUP_COLUMNS = {
    "displayname": "name__iexact",
    "externalid": "external_id",
    "id": "public_id",
    "members": "members__user__public_id",
    "members.value": "members__user__public_id",
}


def to_condition(node: FilterNode, columns: Mapping[str, str]) -> tuple[Q, bool]:
    """A condition that every matching row meets, and whether it selects only these: then nothing is left to compare."""
    if isinstance(node, Comparison):
        path = node.attr_path
        name = ".".join(part for part in (path.attr, path.sub_attr) if part).lower()
        is_known = node.op == CompareOperator.eq and isinstance(node.value, str) and name in columns
        if not is_known:
            return Q(), False
        return (Q(pk__in=[]) if "\0" in node.value else Q(**{columns[name]: node.value})), True
    if isinstance(node, LogicalExpr):
        parts = [to_condition(term, columns) for term in node.terms]
        is_exact = all(part[1] for part in parts)
        if node.op == LogicalOperator.and_:
            return combine([part[0] for part in parts], Q.AND), is_exact
        return (combine([part[0] for part in parts], Q.OR), True) if is_exact else (Q(), False)
    return Q(), False


def combine(conditions: list[Q], connector: str) -> Q:
    whole = conditions[0]
    for condition in conditions[1:]:
        whole = whole & condition if connector == Q.AND else whole | condition
    return whole
