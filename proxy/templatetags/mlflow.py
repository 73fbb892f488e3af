"""`{% load mlflow %}{% mlflow_page "run" call.object_name as address %}`."""

from django import template

from proxy import mlflow_pages

register = template.Library()
register.simple_tag(mlflow_pages.address, name="mlflow_page")
