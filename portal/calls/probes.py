"""The addresses of health checks and metrics for programs. Load balancers and scrapers call them all the time, so they
must not make a process load the portal's pages (`portal.urls`): these are the only addresses that they look in."""

from django.urls import path

from portal.http import health, metrics

urlpatterns = [
    path("metrics", metrics.metrics, name="metrics"),
    path("health/live", health.live, name="health-live"),
    path("health/ready", health.ready, name="health-ready"),
    path("health/mlflow", health.mlflow_health, name="health-mlflow"),
    path("api/health/mlflow", health.mlflow_health),
    path("api/mlflow/health/mlflow", health.mlflow_health),
    path("mlflow/health/mlflow", health.mlflow_health),
]
PATHS = frozenset(f"/{pattern.pattern}" for pattern in urlpatterns)
handler500 = "portal.pages.home.server_error"
