"""What the portal would be with django-revproxy's view as it comes: the two mounts, and nothing else.

The checks of test_forwarding run against this too, where each has to fail: so each is known to be able to.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.portals import Portal


@contextmanager
def plain_portal(*, upstream: str) -> "Iterator[Portal]":
    """The plain portal in front of `upstream`, run by gunicorn as ours is."""
    # Here, because it starts PostgreSQL, for which gunicorn's own import of this module has no use.
    from tests.portals import free_port, gunicorn, new_folder

    port = free_port()
    environment = {**os.environ, "DATA_DIR": str(new_folder("plain")), "PLAIN_UPSTREAM": upstream}
    del environment["DJANGO_SETTINGS_MODULE"]
    arguments = ["--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", "8"]
    arguments += ["--no-control-socket", "tests.proxy.plain:application()"]
    with gunicorn(*arguments, port=port, database="", environment=environment, ready="/mlflow/x") as running:
        yield running


def application():
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.urls import re_path

    settings.configure(
        SECRET_KEY="plain",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["revproxy"],
        MIDDLEWARE=[],
    )
    made = get_wsgi_application()
    from revproxy.views import ProxyView

    view = ProxyView.as_view(upstream=os.environ["PLAIN_UPSTREAM"])
    urlpatterns.extend(re_path(rf"^{mount}/(?P<path>.*)$", view) for mount in ("api/mlflow", "mlflow"))
    return made


urlpatterns: list = []
