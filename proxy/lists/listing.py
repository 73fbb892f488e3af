"""Paging by keyset for the lists of the usage log and the ledger, and searches that keep pasted keys out of URLs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from keys.pages.frame import redirect_see_other
from proxy.lists.page_filters import without_secret

PER_PAGE = 50

Row = TypeVar("Row")
View = Callable[[HttpRequest], HttpResponse]


@dataclass(frozen=True, kw_only=True)
class Slice(Generic[Row]):
    """A page of a list, and the query strings of the next older and newer pages ("": there is none)."""

    rows: list[Row]
    older: str = ""
    newer: str = ""
    looked_through: int = 0  # rows that the filter checked one by one; 0: PostgreSQL filtered


@dataclass(frozen=True, kw_only=True)
class Pages(Generic[Row]):
    """How to page through a list: by a row's position, never by page number, so that every page costs the same."""

    place: Callable[[Row], str]
    older: Callable[
        [str | None, int], list[Row]
    ]  # the newest rows (None), or those just older than the place
    newer: Callable[[str, int], list[Row]]  # the rows just newer than the place, newest first

    def slice(self, request: HttpRequest, size: int = PER_PAGE) -> Slice[Row]:
        """The page that the query string selects; the newest page if it selects none."""
        before, after = request.GET.get("newer", ""), request.GET.get("older", "")
        try:
            if before:
                return self.back(before, size)
            rows = self.older(after or None, size + 1)
        except (ValueError, OverflowError):
            return self.slice_from(self.older(None, size + 1), size, is_first=True)
        return self.slice_from(rows, size, is_first=not after)

    def back(self, place: str, size: int) -> Slice[Row]:
        rows = self.newer(place, size + 1)
        if len(rows) < size:  # less than a page is newer: show the first page
            return self.slice_from(self.older(None, size + 1), size, is_first=True)
        is_first, rows = len(rows) == size, rows[-size:]
        return Slice(
            rows=rows, older=self.to("older", rows[-1]), newer="" if is_first else self.to("newer", rows[0])
        )

    def slice_from(self, rows: list[Row], size: int, *, is_first: bool) -> Slice[Row]:
        has_older, rows = len(rows) > size, rows[:size]
        return Slice(
            rows=rows,
            older=self.to("older", rows[-1]) if has_older else "",
            newer="" if is_first or not rows else self.to("newer", rows[0]),
        )

    def to(self, direction: str, row: Row) -> str:
        return urlencode({direction: self.place(row)})


def find_in(list_name: str) -> View:
    """The view that receives a list's filter form, by POST because people paste whole keys into any field. It redirects
    to the list with the filter in its URL, where a key's id replaces its secret."""

    @sensitive_post_parameters()
    @require_POST
    def find(request: HttpRequest) -> HttpResponse:
        asked = request.POST.copy()
        if clean := without_secret(asked):
            asked = clean
            messages.info(
                request,
                "You searched for an API key. The list shows its calls or changes. The key was not stored.",
            )
        query = {name: value for name, value in asked.items() if value and name != "csrfmiddlewaretoken"}
        address = reverse(list_name)
        return redirect_see_other(f"{address}?{urlencode(query)}" if query else address)

    return find
