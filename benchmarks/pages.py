"""The time to the first byte of every admin page, with a million calls and 10,000 keys: `make pages`.

ROWS sets another number of calls, ONLY=… selects addresses that contain a text.
One reader opens every URL of the admin that responds to GET, lists also with
filters, on a portal with gunicorn and PostgreSQL. The exit status is 1 if the median of a URL exceeds ALLOWED.
"""

import http.client
import json
import os
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.usage_log import ROOT, UPSTREAM, gunicorn, process

CALLS, KEYS, USERS, REGISTRATIONS = int(os.environ.get("ROWS", 1_000_000)), 10_000, 3_000, 50_000
DAYS = 30
ALLOWED = 150  # milliseconds
TIMES = 7

# Twenty keys make six of ten calls, all keys make the others. One of twenty calls is refused.
CALLS_OF_A_DAY = """
INSERT INTO proxy_call (request_id, at, key_id, user_id, operation, method, path, object_kind, object_name, status,
                        reason, bytes_in, bytes_out, duration_ms, upstream_ms, address, client, client_version)
SELECT 'req_' || md5('{day}' || n), least('{day} 00:00+00'::timestamptz + n * interval '24 hours' / {count}, now()),
       key, 1 + (key - 1) % {users},
       (ARRAY['runs.log-batch', 'runs.log-metric', 'runs.get', 'experiments.get', 'artifacts.upload',
              'registered-models.get', 'model-versions.create', 'runs.search'])[1 + n % 8],
       'POST', '/api/mlflow/api/2.0/mlflow/runs/log-batch', 'run', md5('run' || n % 5000),
       CASE WHEN n % 20 = 0 THEN 403 ELSE 200 END, CASE WHEN n % 20 = 0 THEN 'not_owner' ELSE '' END,
       n % 5000, n % 300, n % 400, n % 350, ('10.0.' || n % 200 || '.1')::inet, 'mlflow-python-client/3.17.2', '3.17.2'
FROM (SELECT n, CASE WHEN n % 10 < 6 THEN 1 + n % 20 ELSE 1 + (n * 7919) % {keys} END AS key
      FROM generate_series(0, {count} - 1) AS n) AS made
"""
BUCKETS = ", ".join(
    f"count(*) FILTER (WHERE duration_ms > {low} AND duration_ms <= {high})"
    for low, high in zip(
        (-1, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000),
        (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 1e9),
        strict=True,
    )
)
SUMS = f"count(*), sum(bytes_in), sum(bytes_out), sum(duration_ms), ARRAY[{BUCKETS}]"
TOTALS = f"""
INSERT INTO proxy_calltotal (span, start, key_id, user_id, operation, status_class, calls, bytes_in, bytes_out,
                             duration_ms, latencies)
SELECT %s, date_trunc(%s, at, 'UTC'), key_id, user_id, operation, status / 100, {SUMS}
FROM proxy_call WHERE at > now() - %s::interval GROUP BY 2, 3, 4, 5, 6
"""
HOURS = f"""
INSERT INTO proxy_hourtotal (start, status_class, calls, bytes_in, bytes_out, duration_ms, latencies)
SELECT date_trunc('hour', at, 'UTC'), status / 100, {SUMS} FROM proxy_call GROUP BY 1, 2
"""
LEDGER = """
INSERT INTO proxy_registration (request_id, at, user_id, key_id, actor, environment, operation, kind, is_prompt,
    object_name, new_name, version, run_id, source, tags, detail, address, outcome, status, reason, completed_at,
    created_ms, digest, hash)
SELECT 'req_l' || n, now() - (%(rows)s - n) * interval '30 days' / %(rows)s, 1 + n %% 20, 1 + n %% 20, '', 'live',
       CASE WHEN n %% 3 = 0 THEN 'model-versions.set-tag' ELSE 'model-versions.create' END, 'model_version', false,
       'model-' || n / 3 %% 500, '', (1 + n / 1500)::text, md5('run' || n), 'runs:/x/model',
       CASE WHEN n %% 2 = 0 THEN '{"hokusai_token_id": "a", "benchmark_metric": "f1", "benchmark_value": "1"}'::jsonb
            ELSE '{"hokusai_token_id": "a"}'::jsonb END,
       '{}', '10.0.0.1', 'done', 200, '', now(), n, md5(n::text) || md5(n::text), ''
FROM generate_series(1, %(rows)s) AS n
"""
OTHERS = """
INSERT INTO proxy_owner (environment, kind, name, user_id, key_id, created_at, is_shared, is_reserved)
SELECT 'live', 'run', md5('run' || n), 1 + n % 3000, 1 + n % 10000, now() - n * interval '20 seconds', false, false
FROM generate_series(1, 100000) AS n;
INSERT INTO proxy_keylessattempt (hour, reason, network, count)
SELECT date_trunc('hour', now()) - hour * interval '1 hour', 'unknown_key', '198.51.' || n || '.0/24', n
FROM generate_series(0, 719) AS hour, generate_series(1, 20) AS n;
"""
PLACE = {"<path:object_id>": "1", "<int:pk>": "1", "<id>": "1", "<int:object_id>": "1", "<app_label>": "keys"}
FILTERED = [
    "/admin/?period=7d",
    "/admin/?period=30d",
    "/admin/keys/apikey/?q=key+77",
    "/admin/keys/apikey/?p=150",
    "/admin/keys/apikey/?o=-4",
    "/admin/keys/apikey/?o=-6",  # by the calls of 30 days
    "/admin/keys/apikey/?o=-6&p=150",
    "/admin/usage/?span=30d&each=day",
    "/admin/usage/?user=user-7",
    "/admin/keys/user/?q=user-77",
    "/admin/proxy/call/?user=user-7",
    "/admin/proxy/call/?key=key+9000",
    "/admin/proxy/call/?refused=on",
    "/admin/proxy/call/?reason=scope",
    "/admin/proxy/call/?status=3",
    "/admin/proxy/call/?status=5&span=30d",
    "/admin/proxy/call/?address=192.0.2.1",
    "/admin/proxy/call/?object=nothing",
    "/admin/proxy/call/?operation=model-versions.create&span=7d",
    "/admin/proxy/call/?request_id=req_none",
    "/admin/proxy/call/export/?user=user-7&refused=on",
    "/admin/proxy/registration/?rules=missing",
    "/admin/proxy/registration/?rules=malformed",
    "/admin/proxy/registration/?user=user-7",
    "/admin/proxy/registration/?model=model-7",
    "/admin/proxy/registration/model/?name=model-7",
    "/admin/proxy/registration/export/?form=jsonl",
    "/admin/proxy/owner/?q=user-77",
]


def fill() -> str:
    """Create the data that the pages show; returns the session of a superuser."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore
    from django.db import connection

    from keys.models import User

    people()
    with connection.cursor() as cursor:
        log(cursor)
        cursor.execute(LEDGER, {"rows": REGISTRATIONS})
        cursor.execute(OTHERS)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
    admin = User.objects.get(username="admin")
    session = SessionStore()
    session[SESSION_KEY] = str(admin.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = admin.get_session_auth_hash()
    session.create()
    return str(session.session_key)


def people() -> None:
    """Users and keys, one event for each key, and an admin."""
    import datetime
    import hashlib

    from django.utils import timezone

    from keys.models import ApiKey, KeyEvent, User

    now = timezone.now()
    User.objects.bulk_create(User(username=f"user-{number}") for number in range(1, USERS + 1))
    ApiKey.objects.bulk_create(
        ApiKey(
            name=f"key {number}",
            owner_id=1 + (number - 1) % USERS,
            digest=hashlib.sha256(str(number).encode()).hexdigest(),
            prefix=f"hk_live_{number % 10_000:04}",
            last4=f"{number % 10_000:04}",
            expires_at=now + datetime.timedelta(days=number % 365 + 1) if number % 2 else None,
            last_used_at=now - datetime.timedelta(hours=number % 5000) if number % 3 else None,
        )
        for number in range(1, KEYS + 1)
    )
    KeyEvent.objects.bulk_create(
        KeyEvent(key_id=number, kind=KeyEvent.Kind.ISSUED) for number in range(1, KEYS + 1)
    )
    User.objects.create_superuser("admin", password=secrets.token_urlsafe(16))


def log(cursor: Any) -> None:
    """DAYS days of calls that end today, and their totals."""
    import datetime

    from proxy.usage import partitions

    today = datetime.datetime.now(datetime.UTC).date()
    have = partitions.days(cursor.connection)
    for ago in range(DAYS):
        day = today - datetime.timedelta(days=ago)
        if day not in have:
            after = day + datetime.timedelta(days=1)
            cursor.execute(
                f"CREATE TABLE {partitions.name_of(day)} PARTITION OF proxy_call "
                f"FOR VALUES FROM ('{day} 00:00+00') TO ('{after} 00:00+00')"
            )
        cursor.execute(CALLS_OF_A_DAY.format(day=day, count=CALLS // DAYS, keys=KEYS, users=USERS))
    cursor.execute(TOTALS, ["day", "day", "400 days"])
    cursor.execute(TOTALS, ["hour", "hour", "14 days"])
    cursor.execute(HOURS)


def addresses(patterns: Any, before: str = "") -> Iterator[str]:
    """Every URL of the admin, with the first object where the URL needs one."""
    from django.urls import URLResolver

    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, route)
            continue
        for placeholder, value in PLACE.items():
            route = route.replace(placeholder, value)
        if route.startswith("admin/") and not re.search(r"[<(^\\]", route) and "logout" not in route:
            yield f"/{route}"


def first_object(table: str) -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"SELECT max(id) FROM {table}")
        return int(cursor.fetchone()[0])


def walked() -> list[str]:
    from django.urls import get_resolver

    paths = list(dict.fromkeys([*addresses(get_resolver().url_patterns), *FILTERED]))
    newest = {f"/{name}/": first_object(f"proxy_{name}") for name in ("call", "registration", "owner")}
    for part, number in newest.items():
        paths = [path.replace(f"{part}1/", f"{part}{number}/") for path in paths]
    return paths


def first_byte(port: int, path: str, cookie: str) -> tuple[int, float]:
    """The status, and the milliseconds to the first byte of the response's body. A download that was closed after its
    first byte holds its slot until the server notices, so a refusal for want of slots is repeated for ten seconds."""
    for _ in range(40):
        status, taken = request_once(port, path, cookie)
        if status != 503:
            break
        time.sleep(0.25)
    return status, taken


def request_once(port: int, path: str, cookie: str) -> tuple[int, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    started = time.perf_counter()
    connection.request("GET", path, headers={"Cookie": cookie})
    answer = connection.getresponse()
    answer.read(1)
    taken = (time.perf_counter() - started) * 1000
    connection.close()
    return answer.status, taken


def measure(port: int, cookie: str, paths: list[str]) -> int:
    if (status := first_byte(port, "/admin/", cookie)[0]) != 200:
        print(f"/admin/ answered {status}")
        return 1
    print(f"{CALLS:,} calls, {KEYS:,} keys, {USERS:,} users, {REGISTRATIONS:,} registrations\n")
    print(f"| page | first byte, median of {TIMES} | worst |\n|---|---|---|")
    slow = seen = 0
    for path in [path for path in paths if os.environ.get("ONLY", "") in path]:
        status, _ = first_byte(port, path, cookie)
        if status != 200:
            if status >= 500:
                print(f"| `{path}` | answered {status} | |")
                slow += 1
            continue  # redirects, and URLs that accept only POST
        taken = [first_byte(port, path, cookie)[1] for _ in range(TIMES)]
        median = statistics.median(taken)
        seen, slow = seen + 1, slow + (median > ALLOWED)
        print(
            f"| `{path}` | {median:.0f} ms{' TOO SLOW' if median > ALLOWED else ''} | {max(taken):.0f} ms |",
            flush=True,
        )
    print(f"\n{seen} pages, {slow} over {ALLOWED} ms")
    return int(slow > 0 or (seen < 20 and "ONLY" not in os.environ))


def main() -> int:
    from portal.one_machine.ports import free_port
    from portal.one_machine.postgres import running_postgres

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(
            running_postgres(folder / "postgresql", settings={"max_wal_size": "4GB"})
        )
        upstream = free_port()
        os.environ |= {
            "DATABASE_URL": server.url("portal"),
            "MLFLOW_URL": f"http://127.0.0.1:{upstream}",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "KEY_PEPPERS": secrets.token_urlsafe(32),
            "DATA_DIR": str(folder),
        }
        stack.enter_context(process("-c", UPSTREAM, str(upstream)))
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, check=True)
        command = [sys.executable, "-m", "benchmarks.pages", "fill"]
        made = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
        known = json.loads(made.stdout.splitlines()[-1])
        port, _ = stack.enter_context(gunicorn(folder, "portal.wsgi:application"))
        return measure(port, known["cookie"], known["paths"])


if __name__ == "__main__":
    if sys.argv[1:]:
        import django

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
        django.setup()
        from django.conf import settings

        session = fill()
        print(json.dumps({"cookie": f"{settings.SESSION_COOKIE_NAME}={session}", "paths": walked()}))
    else:
        sys.exit(main())
