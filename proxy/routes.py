"""MLflow 3.17's routes as one table: operation, method, path; grouped by the scope that a key needs.

Where MLflow serves a route under `/api/` and `/ajax-api/`, the first stands here. `{name}` is one segment,
`{name:path}` one or more. What no key may call is in `proxy.refused_routes`.
"""

from keys.scopes import Scope
from proxy.operations import Operation
from proxy.refused_routes import REFUSED

TABLE: dict[Scope | None, str] = {
    Scope.TRACKING_READ: """
        experiments.search-datasets       POST   /ajax-api/2.0/mlflow/experiments/search-datasets
        metrics.get-history-bulk          GET    /ajax-api/2.0/mlflow/metrics/get-history-bulk
        experiments.get                   GET    /api/2.0/mlflow/experiments/get
        experiments.get-by-name           GET    /api/2.0/mlflow/experiments/get-by-name
        experiments.search                GET    /api/2.0/mlflow/experiments/search
        experiments.search                POST   /api/2.0/mlflow/experiments/search
        logged-models.search              POST   /api/2.0/mlflow/logged-models/search
        logged-models.get                 GET    /api/2.0/mlflow/logged-models/{model_id}
        metrics.get-history               GET    /api/2.0/mlflow/metrics/get-history
        metrics.get-history-bulk-interval GET    /api/2.0/mlflow/metrics/get-history-bulk-interval
        runs.get                          GET    /api/2.0/mlflow/runs/get
        runs.search                       POST   /api/2.0/mlflow/runs/search
        datasets.search                   GET    /api/3.0/mlflow/datasets/search
        datasets.search                   POST   /api/3.0/mlflow/datasets/search
        datasets.get                      GET    /api/3.0/mlflow/datasets/{dataset_id}
        datasets.get-experiments          GET    /api/3.0/mlflow/datasets/{dataset_id}/experiment-ids
        datasets.get-records              GET    /api/3.0/mlflow/datasets/{dataset_id}/records
        issues.search                     POST   /api/3.0/mlflow/issues/search
        issues.get                        GET    /api/3.0/mlflow/issues/{issue_id}
        label-schemas.get                 GET    /api/3.0/mlflow/label-schemas/get
        label-schemas.get-by-name         GET    /api/3.0/mlflow/label-schemas/get-by-name
        label-schemas.list                GET    /api/3.0/mlflow/label-schemas/list
        review-queues.get                 GET    /api/3.0/mlflow/review-queues/get
        review-queues.get-by-name         GET    /api/3.0/mlflow/review-queues/get-by-name
        review-queues.list-items          GET    /api/3.0/mlflow/review-queues/items/list
        review-queues.list                GET    /api/3.0/mlflow/review-queues/list
        scorers.get                       GET    /api/3.0/mlflow/scorers/get
        scorers.list                      GET    /api/3.0/mlflow/scorers/list
        scorers.online-configs            GET    /api/3.0/mlflow/scorers/online-configs
        scorers.list-versions             GET    /api/3.0/mlflow/scorers/versions
        graphql.query                     GET    /graphql
        graphql.query                     POST   /graphql
    """,
    Scope.TRACKING_WRITE: """
        experiments.create               POST   /api/2.0/mlflow/experiments/create
        experiments.delete-tag           POST   /api/2.0/mlflow/experiments/delete-experiment-tag
        experiments.restore              POST   /api/2.0/mlflow/experiments/restore
        experiments.set-tag              POST   /api/2.0/mlflow/experiments/set-experiment-tag
        experiments.update               POST   /api/2.0/mlflow/experiments/update
        logged-models.create             POST   /api/2.0/mlflow/logged-models
        logged-models.finalize           PATCH  /api/2.0/mlflow/logged-models/{model_id}
        logged-models.log-params         POST   /api/2.0/mlflow/logged-models/{model_id}/params
        logged-models.set-tags           PATCH  /api/2.0/mlflow/logged-models/{model_id}/tags
        logged-models.delete-tag         DELETE /api/2.0/mlflow/logged-models/{model_id}/tags/{tag_key}
        runs.create                      POST   /api/2.0/mlflow/runs/create
        runs.delete-tag                  POST   /api/2.0/mlflow/runs/delete-tag
        runs.log-batch                   POST   /api/2.0/mlflow/runs/log-batch
        runs.log-inputs                  POST   /api/2.0/mlflow/runs/log-inputs
        runs.log-metric                  POST   /api/2.0/mlflow/runs/log-metric
        runs.log-model                   POST   /api/2.0/mlflow/runs/log-model
        runs.log-parameter               POST   /api/2.0/mlflow/runs/log-parameter
        runs.log-outputs                 POST   /api/2.0/mlflow/runs/outputs
        runs.restore                     POST   /api/2.0/mlflow/runs/restore
        runs.set-tag                     POST   /api/2.0/mlflow/runs/set-tag
        runs.update                      POST   /api/2.0/mlflow/runs/update
        datasets.create                  POST   /api/3.0/mlflow/datasets/create
        datasets.add-experiments         POST   /api/3.0/mlflow/datasets/{dataset_id}/add-experiments
        datasets.upsert-records          POST   /api/3.0/mlflow/datasets/{dataset_id}/records
        datasets.remove-experiments      POST   /api/3.0/mlflow/datasets/{dataset_id}/remove-experiments
        datasets.set-tags                PATCH  /api/3.0/mlflow/datasets/{dataset_id}/tags
        datasets.delete-tag              DELETE /api/3.0/mlflow/datasets/{dataset_id}/tags/{key}
        issues.create                    POST   /api/3.0/mlflow/issues
        issues.update                    PATCH  /api/3.0/mlflow/issues/{issue_id}
        label-schemas.create             POST   /api/3.0/mlflow/label-schemas/create
        label-schemas.update             PATCH  /api/3.0/mlflow/label-schemas/update
        review-queues.create             POST   /api/3.0/mlflow/review-queues/create
        review-queues.get-or-create-user POST   /api/3.0/mlflow/review-queues/get-or-create-user
        review-queues.add-items          POST   /api/3.0/mlflow/review-queues/items/add
        review-queues.remove-items       POST   /api/3.0/mlflow/review-queues/items/remove
        review-queues.set-item-status    POST   /api/3.0/mlflow/review-queues/items/set-status
        review-queues.update             POST   /api/3.0/mlflow/review-queues/update
    """,
    Scope.TRACKING_DELETE: """
        experiments.delete      POST   /api/2.0/mlflow/experiments/delete
        logged-models.delete    DELETE /api/2.0/mlflow/logged-models/{model_id}
        runs.delete             POST   /api/2.0/mlflow/runs/delete
        datasets.delete         DELETE /api/3.0/mlflow/datasets/{dataset_id}
        datasets.delete-records DELETE /api/3.0/mlflow/datasets/{dataset_id}/records
        label-schemas.delete    DELETE /api/3.0/mlflow/label-schemas/delete
        review-queues.delete    POST   /api/3.0/mlflow/review-queues/delete
        scorers.delete          DELETE /api/3.0/mlflow/scorers/delete
    """,
    Scope.REGISTRY_READ: """
        model-versions.get                    GET    /api/2.0/mlflow/model-versions/get
        model-versions.get-download-uri       GET    /api/2.0/mlflow/model-versions/get-download-uri
        model-versions.search                 GET    /api/2.0/mlflow/model-versions/search
        registered-models.get-by-alias        GET    /api/2.0/mlflow/registered-models/alias
        registered-models.get                 GET    /api/2.0/mlflow/registered-models/get
        registered-models.get-latest-versions GET    /api/2.0/mlflow/registered-models/get-latest-versions
        registered-models.get-latest-versions POST   /api/2.0/mlflow/registered-models/get-latest-versions
        registered-models.search              GET    /api/2.0/mlflow/registered-models/search
        mcp-servers.search                    GET    /api/3.0/mlflow/mcp-servers
        mcp-servers.search-endpoints          GET    /api/3.0/mlflow/mcp-servers/endpoints
        mcp-servers.get                       GET    /api/3.0/mlflow/mcp-servers/{name:path}
        mcp-servers.get-by-alias              GET    /api/3.0/mlflow/mcp-servers/{name:path}/aliases/{alias:path}
        mcp-servers.list-endpoints            GET    /api/3.0/mlflow/mcp-servers/{name:path}/endpoints
        mcp-servers.get-endpoint              GET    /api/3.0/mlflow/mcp-servers/{name:path}/endpoints/{endpoint_id}
        mcp-servers.list-versions             GET    /api/3.0/mlflow/mcp-servers/{name:path}/versions
        mcp-servers.get-version               GET    /api/3.0/mlflow/mcp-servers/{name:path}/versions/{version:path}
    """,
    Scope.REGISTRY_WRITE: """
        model-versions.create           POST   /api/2.0/mlflow/model-versions/create
        model-versions.delete-tag       DELETE /api/2.0/mlflow/model-versions/delete-tag
        model-versions.set-tag          POST   /api/2.0/mlflow/model-versions/set-tag
        model-versions.transition-stage POST   /api/2.0/mlflow/model-versions/transition-stage
        model-versions.update           PATCH  /api/2.0/mlflow/model-versions/update
        registered-models.delete-alias  DELETE /api/2.0/mlflow/registered-models/alias
        registered-models.set-alias     POST   /api/2.0/mlflow/registered-models/alias
        registered-models.create        POST   /api/2.0/mlflow/registered-models/create
        registered-models.delete-tag    DELETE /api/2.0/mlflow/registered-models/delete-tag
        registered-models.rename        POST   /api/2.0/mlflow/registered-models/rename
        registered-models.set-tag       POST   /api/2.0/mlflow/registered-models/set-tag
        registered-models.update        PATCH  /api/2.0/mlflow/registered-models/update
    """,
    Scope.REGISTRY_DELETE: """
        model-versions.delete    DELETE /api/2.0/mlflow/model-versions/delete
        registered-models.delete DELETE /api/2.0/mlflow/registered-models/delete
    """,
    Scope.ARTIFACTS_READ: """
        logged-models.get-artifact       GET    /ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files
        artifacts.list                   GET    /api/2.0/mlflow-artifacts/artifacts
        artifacts.download               GET    /api/2.0/mlflow-artifacts/artifacts/{artifact_path:path}
        artifacts.presigned              GET    /api/2.0/mlflow-artifacts/presigned/{artifact_path:path}
        artifacts.list-run               GET    /api/2.0/mlflow/artifacts/list
        artifacts.presigned-download-url POST   /api/2.0/mlflow/artifacts/presigned-download-url
        logged-models.list-artifacts     GET    /api/2.0/mlflow/logged-models/{model_id}/artifacts/directories
    """,
    Scope.ARTIFACTS_WRITE: """
        artifacts.upload               PUT    /api/2.0/mlflow-artifacts/artifacts/{artifact_path:path}
        artifacts.mpu-abort            POST   /api/2.0/mlflow-artifacts/mpu/abort/{artifact_path:path}
        artifacts.mpu-complete         POST   /api/2.0/mlflow-artifacts/mpu/complete/{artifact_path:path}
        artifacts.mpu-create           POST   /api/2.0/mlflow-artifacts/mpu/create/{artifact_path:path}
        artifacts.presigned-upload-url POST   /api/2.0/mlflow/artifacts/presigned-upload-url
    """,
    Scope.ARTIFACTS_DELETE: """
        artifacts.delete DELETE /api/2.0/mlflow-artifacts/artifacts/{artifact_path:path}
    """,
    Scope.TRACES_READ: """
        traces.get-artifact                 GET    /ajax-api/2.0/mlflow/get-trace-artifact
        traces.get-artifact                 GET    /ajax-api/3.0/mlflow/get-trace-artifact
        traces.search-v2                    GET    /api/2.0/mlflow/traces
        traces.get-info-v2                  GET    /api/2.0/mlflow/traces/{request_id}/info
        traces.batch-get                    GET    /api/3.0/mlflow/traces/batchGet
        traces.batch-get-infos              POST   /api/3.0/mlflow/traces/batchGetInfos
        traces.calculate-filter-correlation POST   /api/3.0/mlflow/traces/calculate-filter-correlation
        traces.get                          GET    /api/3.0/mlflow/traces/get
        traces.metrics                      POST   /api/3.0/mlflow/traces/metrics
        traces.search                       POST   /api/3.0/mlflow/traces/search
        traces.get-info                     GET    /api/3.0/mlflow/traces/{trace_id}
        assessments.get                     GET    /api/3.0/mlflow/traces/{trace_id}/assessments/{assessment_id}
    """,
    Scope.TRACES_WRITE: """
        traces.start-v2     POST   /api/2.0/mlflow/traces
        traces.link-prompts POST   /api/2.0/mlflow/traces/link-prompts
        traces.link-to-run  POST   /api/2.0/mlflow/traces/link-to-run
        traces.end-v2       PATCH  /api/2.0/mlflow/traces/{request_id}
        traces.delete-tag   DELETE /api/2.0/mlflow/traces/{request_id}/tags
        traces.set-tag      PATCH  /api/2.0/mlflow/traces/{request_id}/tags
        traces.start        POST   /api/3.0/mlflow/traces
        assessments.create  POST   /api/3.0/mlflow/traces/{trace_id}/assessments
        assessments.update  PATCH  /api/3.0/mlflow/traces/{trace_id}/assessments/{assessment_id}
        traces.delete-tag   DELETE /api/3.0/mlflow/traces/{trace_id}/tags
        traces.set-tag      PATCH  /api/3.0/mlflow/traces/{trace_id}/tags
        traces.export-otlp  POST   /v1/traces
    """,
    Scope.TRACES_DELETE: """
        traces.delete      POST   /api/2.0/mlflow/traces/delete-traces
        traces.delete      POST   /api/3.0/mlflow/traces/delete-traces
        assessments.delete DELETE /api/3.0/mlflow/traces/{trace_id}/assessments/{assessment_id}
    """,
    None: """
        meta.server-info GET    /api/3.0/mlflow/server-info
        meta.health      GET    /health
        meta.version     GET    /version
    """,
}


def rows() -> tuple[Operation, ...]:
    return tuple(
        Operation(name=name, method=method, path=path, scope=scope)
        for scope, routes in TABLE.items()
        for name, method, path in (route.split() for route in routes.strip().splitlines())
    )


OPERATIONS = rows() + REFUSED
