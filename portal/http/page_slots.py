"""Pages, calls of the management API and exports occupy slots, so that no user can occupy every thread with them.

The API's callers take their slots in `keys.api.callers`, where they are known. A streamed response of these paths is an
export: it takes a slot of its own before it reads its first row, and holds it until its last byte is sent.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from keys import page_slots
from keys.page_slots import PageSlot
from keys.refusals import Refusal
from portal.http.event_loop import SIGN_IN
from proxy.answers import refuse
from proxy.upstream.time_share import PROCESSOR

PAGES = ("/account/", "/admin/")
COUNTED = (*PAGES, "/api/v1/", "/scim/v2/")
# How much of the processor time is charged of an export, which is one long response, and of the pages of a person, who
# waits for each of them, but may open several at once.
WEIGHT_OF_EXPORT, WEIGHT_OF_PAGE = 0.5, 0.25


class SlotsOfPages:
    """Takes the slots of people's pages and of all exports, and releases all slots. Charges the user for the page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(COUNTED):
            return self.get_response(request)
        try:
            response = self.get_response(request)
        finally:
            if slot := getattr(request, "page_slot", None):
                slot.release()
        if isinstance(response, StreamingHttpResponse):
            response = self.take_export_slot(request, response)
        if user := known_user(request):
            PROCESSOR.note(user)
            connection: Any = request.META.get("gunicorn.socket")
            if not response.streaming and hasattr(connection, "charge_to"):  # the portal's own server
                caller = getattr(request, "api_caller", None)
                connection.charge_to(user, 1.0 if caller and caller.key else WEIGHT_OF_PAGE)
        return response

    def process_view(
        self, request: HttpRequest, view: Any, arguments: Any, options: Any
    ) -> HttpResponseBase | None:
        if not request.path_info.startswith(PAGES) or request.path_info.encode() in SIGN_IN:
            return None
        if user := user_id(request):
            request.page_user = user  # type: ignore[attr-defined]
            try:
                request.page_slot = page_slots.take_page_slot(user)  # type: ignore[attr-defined]
            except Refusal as refusal:
                return refuse(request, refusal)
        return None

    def take_export_slot(
        self, request: HttpRequest, response: StreamingHttpResponse
    ) -> StreamingHttpResponse | HttpResponse:
        try:
            slot = page_slots.take_export_slot(user_id(request))
        except Refusal as refusal:
            request.api_reason = refusal.reason  # type: ignore[attr-defined]  # for the usage log
            return refuse(request, refusal)
        response.streaming_content = ExportContent(response.streaming_content, slot)  # type: ignore[arg-type]
        return response


class ExportContent:
    """The content of an export, whose slot is released when the response is closed. While others are active, it rests
    after each piece."""

    def __init__(self, pieces: Iterable[bytes], slot: PageSlot) -> None:
        self.pieces, self.slot = pieces, slot

    def __iter__(self) -> Iterator[bytes]:
        user, spent = self.slot.user, time.thread_time()
        for piece in self.pieces:
            yield piece
            before, spent = spent, time.thread_time()
            PROCESSOR.charge(user, (spent - before) * WEIGHT_OF_EXPORT)
            time.sleep(PROCESSOR.seconds_to_rest(user))

    def close(self) -> None:
        self.slot.release()


def known_user(request: HttpRequest) -> str:
    """The id of the caller, if the request has been served so far that the portal knows it: no query is made."""
    caller = getattr(request, "api_caller", None)
    return str(caller.user.public_id) if caller else getattr(request, "page_user", "")


def user_id(request: HttpRequest) -> str:
    """The id of the caller: the API's, or the signed-in user's; "" for nobody."""
    if caller := getattr(request, "api_caller", None):
        return str(caller.user.public_id)
    user = getattr(request, "user", None)
    return user.public_id if user is not None and user.is_authenticated else ""
