"""MLflow's mounts: both prefixes, and the bare host for clients whose tracking URI has no path.

The patterns match Django's decoded path; the proxy itself reads WSGI's.
"""

from django.urls import re_path

from proxy.views import MlflowProxy

proxy = MlflowProxy.as_view()

urlpatterns = [
    re_path(r"^api/mlflow(?=/|\Z)", proxy, {"mount": "/api/mlflow"}, name="api-mlflow"),
    re_path(r"^mlflow(?=/|\Z)", proxy, {"mount": "/mlflow"}, name="mlflow"),
    re_path(r"^(?:ajax-)?api/[23]\.0/mlflow", proxy, {"mount": ""}),
    re_path(r"^(?:version|v1/traces)\Z", proxy, {"mount": ""}),
]
