"""Every page, as a person sees it: light and dark, wide and narrow, for one who sees and one who listens.

SCREENSHOTS=folder also keeps pictures of the main pages there (`make screenshots`: docs/screenshots).
"""

import io
import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from mlflow import MlflowClient
from playwright.sync_api import Page

from tests.browser.conftest import Visit
from tests.browser.pages import PAGES
from tests.portals import Portal, portal, wait_for
from tests.sessions import sign_in

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
FOLDER = Path(os.environ["SCREENSHOTS"]) if os.environ.get("SCREENSHOTS") else None
# Of whom there are pictures in the documentation.
MAIN = {
    "admin/",
    "admin/keys/apikey/",
    "admin/keys/apikey/<path:object_id>/change/",
    "admin/keys/apikey/add/",
    "admin/keys/apikey/requests/",
    "admin/keys/user/add/",
    "admin/alerts/",
    "admin/usage/",
    "admin/incident/<int:pk>/",
    "admin/proxy/call/",
    "admin/proxy/registration/",
    "admin/proxy/registration/model/",
    "account/",
    "account/collect/<str:public_id>/",
    "account/usage/report/",
    "account/calls/<str:request_id>/",
    "docs/<slug:slug>/",
    "account/login/",
}
# What cannot be mended from here: Swagger UI puts a button into a line that is itself one.
KNOWN = {("api/v1/docs/", "nested-interactive")}
ALWAYS_LIGHT = {"api/v1/docs/"}  # Swagger UI's own, seen to stay so
# Addresses that are no page a person looks at, and those that another test looks at.
ELSEWHERE = re.compile(
    r"admin$|account$|docs$|api/v1/docs$"  # redirects to the same with a slash
    r"|.*(/export/|/test/|/settle/|download\\?\.|/find/|connection/|palette/|progress/|search/|autocomplete/|jsi18n/|/r/|logout/)"
    r"|.*<path:object_id>/$|admin/(?!.*(login|password_change)).*(delete|history)/$"
    r"|admin/\(\?P<url>|admin/<app_label>/|admin/password_change/done/"
    r"|admin/health/|admin/group-rules/<int:pk>/remove/|admin/admin/logentry/.+|account/invitation/<|account/collect/link/|.*/(approve|renew)/"
    # Steps of signing in: tests/browser/test_sign_in.py goes through them.
    r"|account/(login/.+|language/|inactive/|signup/|reauthenticate/|2fa/.+|.*password/(change|set|reset/.+))"
    r"|account/keys/requests/.+"
    r"|account/organisation/$|account/\^organisations/.*(withdraw/|accept\|decline.*)"  # take POST only
    r"|account/organisations/<str:slug>/publications/rule/"  # takes POST only
    r"|admin/publications/.+"  # takes POST only
    r"|admin/proxy/(call|registration|owner)/add/|admin/keys/(keyevent|trust)/(add|.*change)/|admin/login/|admin/password_change/"
)


def addresses(patterns: list[URLPattern | URLResolver], before: str = "") -> list[str]:
    found: list[str] = []
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            found += addresses(pattern.url_patterns, route)
        elif route.startswith(("admin", "account", "docs", "leaks", "api/v1/docs")) or route == "":
            found.append(re.sub(r"\^\(\?P<app_label>.*\)/\$", "<app_label>/", route))
    return found


@pytest.fixture(scope="module")
def busy(mlflow_server) -> Portal:
    """A portal at which two people have been at work."""
    with portal(mlflow_url=mlflow_server.url, ISOLATION="required", SELF_SERVICE="true") as running:
        yield running


@pytest.fixture(scope="module")
def places(busy) -> dict[str, str]:
    """What to put into the addresses."""
    name = f"churn-{secrets.token_hex(2)}"
    for user in ("alice", "bob"):
        sign_in(busy, user)
    busy.sql("update keys_user set is_staff = true, is_superuser = true where username = 'alice'")
    issued = busy.issue("alice", "--monthly-requests", "5000")
    other = busy.issue("bob", "--expires-in", "10d")
    for key, owner in ((issued, "alice"), (other, "bob")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_TOKEN", key["key"])
            mlflow.set_tracking_uri(f"{busy.url}/api/mlflow")
            work(MlflowClient(), f"{name}-{owner}")
            if owner == "bob":
                MlflowClient().create_registered_model(f"{name}-Alice")  # looks like a name of alice's
    refused = busy.request(
        "POST",
        "/api/mlflow/api/2.0/mlflow/registered-models/set-tag",
        key=issued["key"],
        body={"name": f"{name}-bob", "key": "k", "value": "v"},
    )
    assert refused.status == 403
    request_id = refused.headers["X-Request-ID"]
    [call] = busy.calls(request_id=request_id)
    [[key_id, user_id]] = busy.sql("select id, owner_id from keys_apikey where public_id = %s", issued["id"])
    rotated = busy.issue("alice", "--name", "rotated")
    busy.manage("rotate_key", rotated["id"], "--overlap", "7d")
    assert busy.request("GET", "/api/mlflow/version", key=rotated["key"]).status == 200  # the old secret
    ended = busy.issue("bob", "--name", "ended")["id"]
    busy.manage("revoke_key", ended)
    busy.sql(
        "insert into keys_keyrequest"
        " (public_id, user_id, kind, key_id, name, scopes, days, note, state, created_at, reason)"
        " select 'kreq_1', owner_id, 'renewal', id, '', '{}', 90, 'it goes on', 'open', now(), ''"
        " from keys_apikey where public_id = %s",
        other["id"],
    )
    told = json.loads(
        busy.manage("issue_key", "--user", "alice", "--name", "ready", "--collect", "--json").stdout
    )
    [[prepared]] = busy.sql("select id from keys_preparedkey where public_id = %s", told["id"])
    invitation = json.loads(busy.manage("invite_user", "--user", "dana", "--json").stdout)
    busy.manage("quarantine", "--key", issued["id"], "--since", "1h")
    busy.manage("hash_artifacts", "--name", f"{name}-alice")
    [[row, *_]] = busy.sql(
        "select id from proxy_registration where operation = 'model-versions.create' order by id"
    )[:1]
    busy.manage("organisation", "create", "lab", "--name", "The Lab")
    busy.manage("organisation", "add-member", "lab", "alice", "--role", "owner")
    of_lab = busy.issue("alice", "--name", "of the lab", "--organisation", "lab")
    trust = busy.command(
        *("create_trust", "lab", "--name", "ci", "--issuer", "https://gitlab.com", "--audience", "lab"),
        *("--claim", "project_path=acme/models", "--claim", "ref=main", "--user", "alice", "--json"),
    )
    [[lab, membership]] = busy.sql("select organisation_id, id from keys_membership")
    return {
        "lab": lab,
        "membership": membership,
        "lab_key": of_lab["id"],
        "lab_trust": json.loads(trust)["id"],
        "member": of_lab["user_id"],
        "key": key_id,
        "key_id": issued["id"],
        "bobs_key": busy.sql("select id from keys_apikey where public_id = %s", other["id"])[0][0],
        "rotated": busy.sql("select id from keys_apikey where public_id = %s", rotated["id"])[0][0],
        "rotated_id": rotated["id"],
        "request": busy.sql("select id from keys_keyrequest")[0][0],
        "prepared": prepared,
        "prepared_id": told["id"],
        "ended": ended,
        "user": user_id,
        "invited": busy.sql("select id from keys_user where username = 'dana'")[0][0],
        "invitation": urlsplit(invitation["link"]).path,
        "call": call["id"],
        "request_id": request_id,
        "registration": row,
        "owner": busy.sql("select id from proxy_owner order by id desc limit 1")[0][0],
        "event": busy.sql("select id from keys_keyevent limit 1")[0][0],
        "model": f"{name}-alice",
    }


def work(client: MlflowClient, name: str) -> None:
    run = client.create_run(client.create_experiment(name)).info.run_id
    for step in range(20):
        client.log_metric(run, "loss", 1 / (step + 1), step=step)
    client.log_text(run, "hello", "notes.txt")
    client.log_text(run, "flavors: {}", "model/MLmodel")
    client.create_registered_model(name)
    tags = {"hokusai_token_id": "churn-7", "benchmark_metric": "auc", "benchmark_value": "0.91"}
    client.create_model_version(name, f"runs:/{run}/model", run_id=run, tags=tags)
    client.create_model_version(name, f"runs:/{run}/model", run_id=run, tags={"benchmark_value": "good"})
    client.set_registered_model_alias(name, "champion", "1")
    client.set_terminated(run)


def wrong_password(page: Page) -> None:
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill("not hers")
    send_as_it_is(page)


def issue_to_oneself(page: Page) -> None:
    page.get_by_label("Name", exact=True).fill("of my own")
    page.get_by_role("button", name="Issue key", exact=True).click()


def send_as_it_is(page: Page) -> None:
    page.eval_on_selector("main form", "form => { form.noValidate = true; form.requestSubmit(); }")


def ask_to_quarantine(page: Page) -> None:
    page.get_by_role("button", name="Quarantine these versions").click()


# What pages show besides: where, as whom, and what is done there first.
STATES: dict[str, tuple[str, str, Callable[[Page], None] | None]] = {
    "a wrong password": ("/account/login/", "", wrong_password),
    "a form's errors": ("/account/keys/issue/", "bob", send_as_it_is),
    "a secret": ("/account/keys/issue/", "bob", issue_to_oneself),
    "a message": ("/account/keys/{ended}/revoke/", "bob", None),
    "a confirmation": ("/admin/incident/{bobs_key}/", "alice", ask_to_quarantine),
}


# Longer words than English has, and no blanks between them.
TRANSLATED = {"de": "account/keys/<str:public_id>/", "ja": "account/"}


def test_every_address_that_is_a_page_is_looked_at():
    pages = {found for found in addresses(get_resolver().url_patterns) if not ELSEWHERE.match(found)}

    assert pages == set(PAGES)


@pytest.mark.browser
@pytest.mark.timeout(900)
@pytest.mark.parametrize("who", ["", "bob", "alice"])
def test_nothing_is_wrong_on_any_page(who, busy, places, new_context):
    wrong = []
    window = Visit(new_context(viewport=WIDE, reduced_motion="reduce").new_page(), busy)
    if who:
        window.let_in(who)
    for address, (path, whose, *act) in {**PAGES, **STATES}.items():
        if whose == who:
            window.page.emulate_media(color_scheme="light")
            wrong += open_page(window, address, path.format(**places), *act)
            for scheme in ("light", "dark"):  # the open page takes the other theme, as when the evening comes
                window.page.emulate_media(color_scheme=scheme)
                wrong += [f"{address} ({scheme}): {what}" for what in look(window, address, scheme)]
    for language, address in TRANSLATED.items():
        path, whose, *_ = PAGES[address]
        if whose == who:
            wrong += look_in(window, language, address, path.format(**places))
    wrong += [f"foreign request: {url}" for url in window.foreign] + window.errors

    assert not wrong, "\n".join(wrong)


def open_page(window: Visit, address: str, path: str, act: Callable[[Page], None] | None = None) -> list[str]:
    """What is wrong with the answer; then `act` is done there."""
    window.page.set_viewport_size(WIDE)
    answer = window.page.goto(window.origin + path)
    assert answer is not None
    if act:
        with window.page.expect_navigation():
            act(window.page)
    return [] if answer.status == 200 else [f"{address}: status {answer.status}"]


def look(window: Visit, address: str, scheme: str) -> list[str]:
    """What is wrong on the page that is open."""
    page, wrong = window.page, []
    page.set_viewport_size(WIDE)
    page.wait_for_load_state("networkidle")
    if address in STATES and not page.locator(".flash, .notice.danger, .errorlist, #secret").count():
        wrong.append("nothing is said of it")
    if address == "a secret" and page.locator("#secret").inner_text() in window.stored():
        wrong.append("the browser keeps it")
    if address.startswith("admin/") and not page.get_by_text("local", exact=True).count():
        wrong.append("does not say which portal this is")
    follows = address in ALWAYS_LIGHT or wait_for(lambda: window.is_light() is (scheme == "light"), seconds=3)
    if not follows:
        wrong.append("neither light nor dark as it was asked for")
    keep(window, address, scheme, "wide")
    found = window.findings(colours_only=scheme == "dark")
    wrong += [f"{rule} at {where}" for rule, where in found if (address, rule) not in KNOWN]
    page.set_viewport_size(NARROW)
    fits = wait_for(
        lambda: not window.scrolls_sideways(), seconds=3
    )  # charts follow the window in their own time
    keep(window, address, scheme, "narrow")
    if not fits:
        wrong.append("scrolls sideways at 390 px")
    times = page.eval_on_selector_all("time", "found => found.map(time => time.title || time.innerText)")
    return wrong + [f"“{text}” has no zone" for text in times if "UTC" not in text and not text.endswith("Z")]


def look_in(window: Visit, language: str, address: str, path: str) -> list[str]:
    """What is wrong on a page in another language than English, on a narrow screen."""
    window.page.set_extra_http_headers({"Accept-Language": language})
    wrong = open_page(window, address, path)
    window.page.set_viewport_size(NARROW)
    if window.page.locator("html").get_attribute("lang") != language:
        wrong.append(f"{address}: not in {language}")
    if not wait_for(lambda: not window.scrolls_sideways(), seconds=3):
        wrong.append(f"{address}: scrolls sideways at 390 px in {language}")
    return wrong


def keep(window: Visit, address: str, scheme: str, width: str) -> None:
    """Of the main pages, one picture wide and light, one narrow and dark, in 256 colours: a third of the size."""
    if FOLDER and address in MAIN and (scheme, width) in (("light", "wide"), ("dark", "narrow")):
        from PIL import Image

        name = re.sub(r"\W+", "-", re.sub(r"<[^>]*>", "", address)).strip("-") or "home"
        FOLDER.mkdir(parents=True, exist_ok=True)
        picture = Image.open(io.BytesIO(window.page.screenshot())).convert("RGB")
        picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
            FOLDER / f"{name}-{scheme}.png", optimize=True
        )
