"""Rotations of peppers, secret key and signing key on two portals under load, as docs/recovery.md describes them."""

import base64
import datetime
import json
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.field.servers import Server
from tests.operate import front
from tests.operate.calls import call, check_logged, load, register, search
from tests.operate.guide import commands
from tests.operate.site import UNLIMITED, Site, new_site, note, on_one_line
from tests.signing_keys import new_signing_key

PASSWORD = "a long password of the proof 1"
USE_SECONDS = 120.0  # the last use of a key is written at most once a minute
MANIFEST_SECONDS = 30.0  # a manifest is made after the response
PAGES = 6  # requests at once, as the pages of MLflow make them


def prove() -> str:
    with new_site() as site:
        servers = [site.replica("first", TRUSTED_PROXIES="1"), site.replica("second", TRUSTED_PROXIES="1")]
        servers[0].manage("migrate", "--verbosity", "0")
        with site.tracking(), front.replicas(site, servers) as url:
            key = servers[0].issue("alice", "work", *UNLIMITED)
            register(url, key, "signed")
            note("two portals run")
            with load(url, key, threads=2) as calls:
                calls.wait_for(50)
                peppers(site, servers, url)
                note("peppers are rotated")
                secret_key(site, servers)
                note("the secret key is rotated")
                signing_key(site, servers, url, key)
                note("the signing key is rotated")
                calls.wait_for(20)
            calls.check(200, 429)
            check_logged(site.database, calls.replies)
    return f"peppers, secret key and signing key rotated on two portals during {calls.describe()}"


def set_all(site: Site, servers: list[Server], **values: str) -> None:
    """A rolling restart with these settings."""
    front.roll(site, servers, lambda server: server.environment.update(values))


def peppers(site: Site, servers: list[Server], url: str) -> None:
    """A key that is used moves, one that is not used is listed, and stops with the old pepper."""
    old, new = servers[0].environment["KEY_PEPPERS"], secrets.token_urlsafe(32)
    used, unused = (servers[0].issue("bob", name) for name in ("used", "unused"))
    for value in (f"{old},{new}", f"{new},{old}"):
        set_all(site, servers, KEY_PEPPERS=value)
        assert search(url, used).status == 200
    since = datetime.datetime.now(datetime.UTC)
    moment = {"2026-11-30T10:00:00Z": f"{since:%Y-%m-%dT%H:%M:%SZ}"}
    second_factors, still_old = commands("`KEY_PEPPERS`", replace=moment)
    site.shell(second_factors, servers[0])
    ids = {each["id"]: each["name"] for each in json.loads(servers[0].manage("list_keys", "--json"))}
    end = time.monotonic() + USE_SECONDS
    while (listed := [ids[each] for each in site.shell(still_old, servers[0]).split()]) != ["unused"]:
        assert time.monotonic() < end, f"listed as under the old pepper: {listed}"
        assert search(url, used).status == 200
        time.sleep(5)
    set_all(site, servers, KEY_PEPPERS=new)
    assert (search(url, used).status, search(url, unused).status) == (200, 401)


def secret_key(site: Site, servers: list[Server]) -> None:
    """A session survives every step, on both portals, also when a page makes several requests at once."""
    session = sign_in(site, servers[0])
    old, new = servers[0].environment["SECRET_KEY"], secrets.token_urlsafe(50)
    for values in ((old, new), (new, old), (new, "")):
        for server in servers:
            set_all(site, [server], SECRET_KEY=values[0], SECRET_KEY_FALLBACKS=values[1])
            check_session(session, servers)


def sign_in(site: Site, server: Server) -> requests.Session:
    script = (
        "from keys.models import User; u = User.objects.create_user('dora'); u.set_password(%r); u.save()"
    )
    site.shell(f'python manage.py shell --command "{script % PASSWORD}"', server)
    session = requests.Session()
    session.trust_env = False
    page = session.get(f"{server.url}/account/login/", timeout=30)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token
    fields = {"login": "dora", "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
    reply = session.post(f"{server.url}/account/login/", data=fields, timeout=30, allow_redirects=False)
    assert reply.status_code == 302, f"sign-in: {reply.status_code}"
    return session


def check_session(session: requests.Session, servers: list[Server]) -> None:
    """The session opens a page on each portal, in several requests at once with the cookies that it has now."""
    for server in servers:
        cookies = dict(session.cookies)

        def open_page(
            _: int, server: Server = server, cookies: dict[str, str] = cookies
        ) -> requests.Response:
            pages = requests.Session()
            pages.trust_env = False
            return pages.get(f"{server.url}/account/", cookies=cookies, timeout=30, allow_redirects=False)

        with ThreadPoolExecutor(PAGES) as threads:
            replies = list(threads.map(open_page, range(PAGES)))
        assert {reply.status_code for reply in replies} == {200}, [reply.status_code for reply in replies]
        for reply in replies:
            session.cookies.update(reply.cookies)


def signing_key(site: Site, servers: list[Server], url: str, key: str) -> None:
    """The signature of a manifest verifies with its public key, which stays published."""
    old = verify(url, key, "signed")
    set_all(site, servers, SIGNING_KEY=on_one_line(new_signing_key()))
    register(url, key, "signed anew")
    new = verify(url, key, "signed anew")
    assert new != old, "the new signing key is not used"
    assert verify(url, key, "signed") == old


def verify(url: str, key: str, name: str) -> str:
    """The id of the key that signed a model's first version. Raises InvalidSignature."""
    query = urlencode({"name": name, "version": "1"})
    end = time.monotonic() + MANIFEST_SECONDS
    while (reply := call(url, "GET", f"/api/v1/manifests/signature?{query}", key=key)).status != 200:
        assert time.monotonic() < end, f"{name} has no signature: {reply.status}"
        time.sleep(0.2)
    key_id = reply.content["verificationMaterial"]["publicKey"]["hint"]
    envelope = reply.content["dsseEnvelope"]
    payload, signature = (
        base64.b64decode(each) for each in (envelope["payload"], envelope["signatures"][0]["sig"])
    )
    pem = call(url, "GET", f"/.well-known/model-signing-key.pem?key_id={key_id}").body
    public = serialization.load_pem_public_key(pem)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(signature, pre_authentication_encoding(payload), ec.ECDSA(hashes.SHA256()))
    return str(key_id)


def pre_authentication_encoding(payload: bytes) -> bytes:
    """What DSSE signs (its protocol v1.0.2)."""
    kind = b"application/vnd.in-toto+json"
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
