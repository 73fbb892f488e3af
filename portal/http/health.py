"""Health checks: exactly 200 or 503, no redirect, no key. JSON; `/health` is also a page for a person's browser."""

import importlib.util
import pkgutil
import time
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from keys import limits
from keys.credentials import cache
from keys.database import DATABASE_ERRORS, discard_dead_connections
from keys.refusals import Refusal
from portal.http import disks
from proxy import draining
from proxy.lists import read_replica
from proxy.request.headers import is_browser
from proxy.routes import releases
from proxy.upstream import isolation, server_release, server_routes
from proxy.upstream.workspaces import ServerRoute
from proxy.usage import recording

PROBE_TIMEOUT = 3.0  # seconds
NEEDED = frozenset({"mlflow", "postgresql"})

Check = dict[str, Any]

_complete: tuple[Any, ...] | None = None  # `applied_migrations` when none was pending


def postgresql() -> Check:
    """Whether PostgreSQL responds and has all migrations."""
    started = time.perf_counter()
    try:
        pending = pending_migrations()
    except DATABASE_ERRORS:  # perhaps only a pooled connection is dead
        connection.close()
        discard_dead_connections()
        try:
            pending = pending_migrations()
        except DATABASE_ERRORS:
            return check(started, problem="PostgreSQL cannot be reached")
    return check(started, problem=f"{pending} migrations are pending" if pending else "")


def pending_migrations() -> int:
    """The number of pending migrations. Once it is 0, it is counted again only if the applied ones changed."""
    global _complete
    if _complete is not None and applied_migrations() == _complete:
        return 0
    if not unapplied_files():
        _complete = applied_migrations()
        return 0
    executor = MigrationExecutor(connection)
    pending = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    _complete = None if pending else applied_migrations()
    return pending


def unapplied_files() -> set[tuple[str, str]]:
    """The migrations, by app and name, that are files of ours or of a package and not applied. It imports none of them,
    which every process would do when it starts. Those that a squashed migration replaces may be among them."""
    files = set()
    for app in apps.get_app_configs():
        name, _ = MigrationLoader.migrations_module(app.label)
        spec = importlib.util.find_spec(name) if name else None
        folders = spec.submodule_search_locations if spec else None
        files |= {
            (app.label, file.name) for file in pkgutil.iter_modules(folders or []) if file.name[0] not in "_~"
        }
    return files.difference(MigrationRecorder(connection).applied_migrations())


def applied_migrations() -> tuple[Any, ...] | None:
    """The number of applied migrations and the last one's id, which is never reused."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), max(id) FROM django_migrations")
        applied: tuple[Any, ...] | None = cursor.fetchone()
    return applied


def mlflow() -> Check:
    """Whether MLflow responds through the connection pool that forwarded calls use."""
    started = time.perf_counter()
    try:
        response = server_routes.ask_server(settings.MLFLOW_URL, ServerRoute.HEALTH, timeout=PROBE_TIMEOUT)
        response.data  # noqa: B018  reads it completely, so that the connection returns to the pool
    except Refusal as refusal:
        return check(started, problem=refusal.message)
    problem = "" if response.status == 200 else f"MLflow answered {response.status}"
    result = check(started, problem=problem or isolation_problem())
    return {**result, **release()}


def isolation_problem() -> str:
    """Why calls are refused although MLflow responds; "" if they are not."""
    try:
        return isolation.problem_of(settings.MLFLOW_URL)
    except Refusal as refusal:
        return refusal.message


def release() -> Check:
    """MLflow's release, whether it has been tested, and which of its routes are unknown; {} until it is known."""
    known = server_release.release_of(settings.MLFLOW_URL)
    if known is None:
        return {}
    return {
        "release": known.text,
        "tested": known.is_tested,
        "unknown_routes": releases.describe_routes(known),
        **({"note": note} if (note := releases.describe_release(known)) else {}),
    }


def spool() -> Check:
    """Whether the usage log is written in time, and the disks have room for more."""
    started = time.perf_counter()
    state = recording.spool_state()
    result = check(started, problem=state.problem or disks.problem())
    if "problem" in result:
        result["status"] = "degraded"
    return {**result, "backlog": state.backlog, "oldest_seconds": state.oldest_seconds, "lost": state.lost}


def limiter() -> dict[str, Check]:
    """Whether all processes count calls together; {} without Redis."""
    started = time.perf_counter()
    problem = limits.redis_problem()
    if problem is None:
        return {}
    result = check(started, problem=f"{problem}: each process counts for itself" if problem else "")
    return {"limits": {**result, "status": "degraded"} if problem else result}


def replica() -> dict[str, Check]:
    """Whether lists and exports are read from the standby, and how far it lags; {} without one."""
    if not read_replica.is_configured():
        return {}
    started = time.perf_counter()
    try:
        state = read_replica.find_state()
    except DATABASE_ERRORS:  # of the primary, which has a check of its own
        return {}
    if not state.problem:
        lag = round(state.lag_seconds, 1)
        return {"read_replica": {**check(started, problem=""), "lag_seconds": lag, "note": f"{lag} s behind"}}
    problem = f"{state.problem}: lists and exports are read from DATABASE_URL"
    return {"read_replica": {**check(started, problem=problem), "status": "degraded"}}


def notifications() -> dict[str, Check]:
    """Whether this process hears of changes from PostgreSQL; {} while it does."""
    if not cache.pulse.is_deaf:
        return {}
    return {"notifications": {"status": "degraded", "ms": 0.0, "problem": cache.DEAF_ADVICE}}


def check(started: float, *, problem: str) -> Check:
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    return {
        "status": "down" if problem else "ok",
        "ms": milliseconds,
        **({"problem": problem} if problem else {}),
    }


def checks() -> dict[str, Check]:
    return {
        "postgresql": postgresql(),
        "mlflow": mlflow(),
        "spool": spool(),
        **limiter(),
        **replica(),
        **notifications(),
    }


def verdict(checks: dict[str, Check], *, needed: frozenset[str]) -> str:
    failed = {name for name, result in checks.items() if result["status"] != "ok"}
    return "down" if failed & needed else "degraded" if failed else "ok"


def respond(checks: dict[str, Check], *, needed: frozenset[str]) -> JsonResponse:
    """`down` and 503 if a needed check failed; `degraded` and 200 if another one did; else `ok` and 200."""
    status = verdict(checks, needed=needed)
    return JsonResponse({"status": status, "checks": checks}, status=503 if status == "down" else 200)


@csrf_exempt  # so that another method gets 405
@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """All checks. MLflow and PostgreSQL are needed. Rendered without the request, because the page's user would need
    PostgreSQL."""
    results = checks()
    response: HttpResponse = respond(results, needed=NEEDED)
    if is_browser(request.META):
        status = verdict(results, needed=NEEDED)
        page = render_to_string("health.html", {"status": status, "checks": results})
        response = HttpResponse(page, status=response.status_code)
    patch_vary_headers(response, ["Accept"])
    return response


@csrf_exempt
@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """The process responds. Accesses nothing else: a slow dependency must not restart a healthy process."""
    return JsonResponse({"status": "ok"})


@csrf_exempt
@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Whether to send requests here: not while the portal stops and finishes running calls."""
    if draining.has_begun():
        stopping = check(time.perf_counter(), problem="The portal is being stopped")
        return respond({"portal": stopping}, needed=frozenset({"portal"}))
    return respond({"postgresql": postgresql()}, needed=frozenset({"postgresql"}))


@csrf_exempt
@require_safe
def mlflow_health(request: HttpRequest) -> JsonResponse:
    return respond({"mlflow": mlflow()}, needed=frozenset({"mlflow"}))
