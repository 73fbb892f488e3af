"""Measures whether the time of a response tells another organisation's id from a made-up one: `make organisations`.

Each route of the table, and each address of the portal's own pages and API that takes an id, gets CALLS calls with an
id of each sort, in random order over one connection. The suite does not collect this file: a run takes an hour.
ONLY=… selects the cases with this text in their name.
"""

import http.client
import os
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.end_to_end.own_addresses import account_addresses, api_addresses
from tests.end_to_end.sides import STORE, V2, Side, other_of_its_form
from tests.end_to_end.test_walls import rows_of, send
from tests.end_to_end.test_walls_on_pages import names_of
from tests.portals import Portal, Reply
from tests.sessions import OWN_PAGE

pytestmark = [pytest.mark.mlflow, pytest.mark.postgresql]
CALLS, ONLY = int(os.environ.get("CALLS", "500")), os.environ.get("ONLY", "")
WITHIN = 0.05
SIGN_IN = {301, 302, 303}  # the response to a session that has ended: it would compare nothing
ROUNDS = 3  # a difference counts if each round has it in the same direction: other programs slow single rounds down


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None = None


@dataclass
class Recorder:
    """Keeps a request, in place of a portal that sends it."""

    sent: list[Request] = field(default_factory=list)

    def request(
        self, method: str, target: str, *, key: str, headers: Any = (), body: bytes | None = None
    ) -> Reply:
        fields = {**dict(headers), "Authorization": f"Bearer {key}"}
        self.sent.append(Request(method, target, fields, body))
        return Reply(0, http.client.HTTPMessage(), b"{}")


def cases(ours: Side, theirs: Side) -> Iterator[tuple[str, list[Request]]]:
    """The name of each case, and its two requests: with another organisation's ids, and with made-up ones."""
    made_up = theirs.work.madeup()
    for operation in rows_of(ours):
        if operation.created and not (operation.targets or operation.parents or operation.claims):
            continue  # it takes the name of a new object
        recorder = Recorder()
        recorded = replace(ours, portal=recorder)  # type: ignore[arg-type]
        # A path of the store has the same made-up ids in each case: the caller's own files there are from other cases.
        other = made_up if operation.name.startswith("artifacts.") else theirs.work.madeup()
        for work in (theirs.work, other):
            send(recorded, operation, work)
        yield f"{operation.method} {operation.name}", recorder.sent
    key, run = {"Authorization": f"Bearer {ours.key}"}, ours.work.ids["run_id"]
    slugs = theirs.slug, other_of_its_form(theirs.slug)
    file = "{experiment_id}/{run_id}/artifacts/x.txt".format(**theirs.work.ids)
    for target in (
        f"/api/mlflow/w/{{}}{V2}/runs/get?run_id={run}",
        f"/api/mlflow{STORE}/workspaces/{{}}/{file}",
    ):
        yield f"GET {target}", [Request("GET", target.format(slug), key) for slug in slugs]


def page_cases(ours: Any, theirs: Side) -> Iterator[tuple[str, list[Request]]]:
    """The same of the portal's own pages and API, with a session."""
    names = names_of(theirs)
    unknown = {name: other_of_its_form(value) for name, value in names.items()}
    headers = {**OWN_PAGE, "Cookie": ours.browser.cookie}
    for addresses in (account_addresses, api_addresses):
        for pair in zip(addresses(names), addresses(unknown), strict=True):
            if pair[0] != pair[1]:
                yield f"GET {pair[1]}", [Request("GET", target, headers) for target in pair]


def send_once(connection: http.client.HTTPConnection, request: Request) -> tuple[int, float]:
    """The status and the seconds of a response. A call over the limit of a minute is made again when its time has come:
    the time of a refusal tells nothing about the page."""
    while True:
        begun = time.perf_counter()
        connection.request(request.method, request.target, request.body, request.headers)
        response = connection.getresponse()
        response.read()
        taken = time.perf_counter() - begun
        if response.status != 429:
            return response.status, taken
        time.sleep(float(response.headers["Retry-After"]))


def measure(portal: Portal, requests: list[Request]) -> tuple[list[float], list[set[int]]]:
    """The median of each request's times in ms, and the statuses that it got."""
    connection = http.client.HTTPConnection("127.0.0.1", portal.port, timeout=60)
    times: list[list[float]] = [[], []]
    statuses: list[set[int]] = [set(), set()]
    choose = random.Random(CALLS)
    for number in (each for _ in range(CALLS) for each in choose.sample([0, 1], 2)):
        status, taken = send_once(connection, requests[number])
        times[number].append(taken)
        statuses[number].add(status)
    connection.close()
    return [statistics.median(each) * 1000 for each in times], statuses


def differences(portal: Portal, name: str, requests: list[Request]) -> list[str]:
    ratios = list[float]()
    while len(ratios) < ROUNDS and (not ratios or abs(ratios[-1] - 1) > WITHIN):
        (other, madeup), statuses = measure(portal, requests)
        ratios.append(other / madeup)
        print(f"{other:8.2f} {madeup:8.2f} {ratios[-1]:6.3f}  {name} {sorted(statuses[1])}", flush=True)
        if statuses[0] != statuses[1] or statuses[0] & SIGN_IN:
            return [f"{name}: {statuses}"]
    if min(ratios) > 1 + WITHIN or max(ratios) < 1 - WITHIN:
        return [f"{name}: the medians differ by more than 5 %: {ratios}"]
    return []


def compare(portal: Portal, pairs: Iterator[tuple[str, list[Request]]]) -> None:
    print(f"\nmedians of {CALLS} calls, in ms: another organisation's id, a made-up one, their ratio")
    chosen = [(name, requests) for name, requests in pairs if ONLY in name]
    found = [difference for name, requests in chosen for difference in differences(portal, name, requests)]
    assert chosen
    assert not found, "\n".join(found)


def test_the_time_of_a_page_tells_nothing(sides, sessions):
    compare(sides[0].portal, page_cases(sessions[0], sides[1]))


def test_the_time_of_a_route_tells_nothing(sides):
    compare(sides[0].portal, cases(*sides))
