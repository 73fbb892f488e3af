"""The admin's lists as CSV and JSON Lines files."""

from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path

from keys.formatting.csv_export import Columns, download


def export_paths(
    model_admin: "ModelAdmin[Any]", name: str, columns: Columns, *prefetched: str
) -> list[URLPattern]:
    """The URLs that export a list as files, for users who may see the list. `prefetched`: the to-many relations that
    its columns read, fetched once per page of rows."""

    def export(request: HttpRequest, form: str = "csv") -> HttpResponse | StreamingHttpResponse:
        if not model_admin.has_view_permission(request):
            raise PermissionDenied
        try:
            rows = model_admin.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return redirect("../?e=1" if form == "csv" else "../../?e=1")  # as the list itself does
        return download(name, columns, rows.prefetch_related(*prefetched), form)

    view = f"{model_admin.opts.app_label}_{model_admin.opts.model_name}"
    wrapped = model_admin.admin_site.admin_view(export)
    return [
        path("export/", wrapped, name=f"{view}_export"),
        path("export/jsonl/", wrapped, {"form": "jsonl"}, name=f"{view}_export"),
    ]
