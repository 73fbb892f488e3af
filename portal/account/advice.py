"""Advice on a pasted error: what happened, what to do, and what the error said, so that it is never vaguer."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.conf import settings
from django.utils.translation import gettext, gettext_noop

from portal.account.pasted_errors import PORTAL_PATHS, PastedError
from portal.pages.explanations import Explanation, explanations
from proxy.models import UncalledRequest

# MLflow's own error codes, which the portal passes on.
OF_MLFLOW = {
    "RESOURCE_DOES_NOT_EXIST": (
        "MLflow does not have what the call asked for: a run, an experiment, a model, a version or a file.",
        "Look at the name or id in the message. Clients also ask so to find out whether something exists yet.",
    ),
    "RESOURCE_ALREADY_EXISTS": (
        "An object with this name already exists.",
        "Choose another name, or use the existing object.",
    ),
    "INVALID_STATE": (
        "The object is in a state that does not allow the call, for example deleted.",
        "Restore the object, or use another one.",
    ),
    "INTERNAL_ERROR": (
        "MLflow or the way to it failed, or the response was not MLflow's.",
        "Check the tracking URI. If it is right and the error repeats, tell your administrator the time.",
    ),
}


@dataclass(kw_only=True)
class Advice:
    """`said`: the message of the error; `sent`: the method and address of the request; `others`: what else an error of
    this code may mean."""

    happened: str = ""
    remedy: str = ""
    reason: str = ""
    said: str = ""
    sent: str = ""
    address_problem: str = ""
    others: list[Explanation] = field(default_factory=list)

    @property
    def tracking_uri(self) -> str:
        return f"{settings.PUBLIC_URL}/api/mlflow"

    @property
    def is_about_address(self) -> bool:
        return bool(self.address_problem) or self.reason in ("not_a_route", "not_found", "bad_request")


def of_uncalled(refused: UncalledRequest) -> Advice:
    """Advice on a request that became no call."""
    advice = Advice(said=refused.message, sent=f"{refused.method} {refused.path}", reason=refused.reason)
    return with_explanation(advice, refused.reason)


def of_pasted(pasted: PastedError) -> Advice | None:
    """Advice on an error by its text alone; None if the text names no error."""
    advice = Advice(said=pasted.message, sent=pasted.address)
    if pasted.reason in explanations():
        return with_explanation(advice, pasted.reason)
    advice.address_problem = address_problem(pasted)
    if pasted.unreached:
        advice.happened, advice.remedy = pasted.unreached
        return advice
    if pasted.error_code in OF_MLFLOW:
        advice.happened, advice.remedy = OF_MLFLOW[pasted.error_code]
        return advice
    advice.others = with_code(pasted.error_code, pasted.status)
    if advice.others:
        name = pasted.error_code or gettext("Status %(status)s") % {"status": pasted.status}
        advice.happened = gettext(
            "A message of the portal's contains a request id. Without one, %(name)s is MLflow's own response, and its "
            "message says why. If the portal refused the call, %(name)s has one of these reasons:"
        ) % {"name": name}
    return advice if advice.others or advice.said or advice.address_problem else None


def with_explanation(advice: Advice, reason: str) -> Advice:
    explanation = explanations().get(reason)
    if explanation:
        advice.reason = reason
        advice.happened, advice.remedy = explanation.happened, explanation.remedy
    return advice


def with_code(error_code: str, status: int | None) -> list[Explanation]:
    """The reasons of this error code, or of this status."""
    found: Iterable[Explanation] = explanations().values()
    if error_code:
        return [each for each in found if each.error_code == error_code]
    return [each for each in found if status is not None and each.status == status]


def address_problem(pasted: PastedError) -> str:
    """What is wrong with the address to which the client sent the request; "" if nothing is, or none is known."""
    address, base = pasted.address, settings.PUBLIC_URL
    if not address or "://" not in address:
        return ""
    before = next((address.partition(part)[0] for part in PORTAL_PATHS if part in address), address)
    if before.rstrip("/") == f"{base}/api/mlflow":
        return ""
    if not before.startswith(base):
        return gettext_noop("It went to another host, port or scheme than this portal's.")
    count = before.count("/api/mlflow")
    if count > 1:
        return gettext_noop("The address contains /api/mlflow more than once.")
    return (
        "" if before.rstrip("/") == base else gettext_noop("The path before MLflow's own is not /api/mlflow.")
    )
