"""The view of the smallest proxy (`benchmarks.plain_proxy`)."""

import os
from typing import Any

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import re_path
from revproxy.views import ProxyView


class PlainProxy(ProxyView):  # type: ignore[misc]  # revproxy is untyped
    upstream = os.environ["MLFLOW_URL"]

    def dispatch(self, request: HttpRequest, path: str) -> Any:
        secret = request.headers.get("Authorization", "").removeprefix("Bearer ")
        with connection.cursor() as cursor:
            cursor.execute("SELECT id FROM plain_key WHERE secret = %s", [secret])
            row = cursor.fetchone()
            if row is None:
                return HttpResponse(status=401)
            response = super().dispatch(request, path.removeprefix("api/mlflow"))
            cursor.execute(
                "INSERT INTO plain_call (key_id, method, path, status, bytes) VALUES (%s, %s, %s, %s, %s)",
                [row[0], request.method, request.path, response.status_code, 0],
            )
        return response


urlpatterns = [re_path(r"^(?P<path>.*)\Z", PlainProxy.as_view())]
