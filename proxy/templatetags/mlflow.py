"""`{% load mlflow %}{% mlflow_page "run" call.object_name as address %}`."""

from django import template

from proxy.routes import ui_links

register = template.Library()
register.simple_tag(ui_links.address, name="mlflow_page")
