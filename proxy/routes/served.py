"""The served routes of MLflow 2.22 to 3.18 in one table: operation, method, path; by the scopes that a key needs.

If MLflow serves a route under both `/api/` and `/ajax-api/`, the table lists the former. `{name}` is one segment or a
part of one, `{name:path}` one or more. `since=` is the first of the releases in `proxy.routes.releases` that has the
route, and `until=` the last; without them, all have it. `proxy.routes.refused` lists the routes that no key may call.
The lines below a route list the objects that it names, as ROLE=KIND:FIELD:

    on=     an object that is written or deleted: the caller must own it
    in=     the experiment in which an object is created: the caller must own it, or it must be shared
    claim=  a new object whose id the caller chooses
    ref=    another object that is named: it must be in the caller's organisation
    new=    a new object, named in MLflow's response
    tag=    the field that holds the keys of tags

A field is a field of the request's JSON (`metrics[].model_id`: in each item of a list; `tags{}`: the keys of a
map), a parameter `{name}` of the path, or a header `@name`. PAGES are only for the sessions of signed-in people.
Source: the handlers of MLflow 3.17.2 and 3.18.0. If a handler takes an id from either of two fields, the table lists
both, and both must be allowed.
"""

from keys.rights.scopes import Scope
from proxy.routes.parsing import parse_table

TABLE: dict[tuple[Scope, ...], str] = {
    (Scope.TRACKING_READ,): """
        experiments.search-datasets       POST   /ajax-api/2.0/mlflow/experiments/search-datasets
        metrics.get-history-bulk          GET    /ajax-api/2.0/mlflow/metrics/get-history-bulk
        experiments.get                   GET    /api/2.0/mlflow/experiments/get
        experiments.get-by-name           GET    /api/2.0/mlflow/experiments/get-by-name
        experiments.search                GET    /api/2.0/mlflow/experiments/search
        experiments.search                POST   /api/2.0/mlflow/experiments/search
        logged-models.search              POST   /api/2.0/mlflow/logged-models/search since=3.1
        logged-models.get                 GET    /api/2.0/mlflow/logged-models/{model_id} since=3.1
        metrics.get-history               GET    /api/2.0/mlflow/metrics/get-history
        metrics.get-history-bulk-interval GET    /api/2.0/mlflow/metrics/get-history-bulk-interval
        runs.get                          GET    /api/2.0/mlflow/runs/get
        runs.search                       POST   /api/2.0/mlflow/runs/search
        datasets.search                   GET    /api/3.0/mlflow/datasets/search since=3.10
        datasets.search                   POST   /api/3.0/mlflow/datasets/search since=3.10
        datasets.get                      GET    /api/3.0/mlflow/datasets/{dataset_id} since=3.10
        datasets.get-experiments          GET    /api/3.0/mlflow/datasets/{dataset_id}/experiment-ids since=3.10
        datasets.get-records              GET    /api/3.0/mlflow/datasets/{dataset_id}/records since=3.10
        issues.search                     POST   /api/3.0/mlflow/issues/search since=3.14
        issues.get                        GET    /api/3.0/mlflow/issues/{issue_id} since=3.14
        label-schemas.get                 GET    /api/3.0/mlflow/label-schemas/get since=3.14
        label-schemas.get-by-name         GET    /api/3.0/mlflow/label-schemas/get-by-name since=3.14
        label-schemas.list                GET    /api/3.0/mlflow/label-schemas/list since=3.14
        review-queues.get                 GET    /api/3.0/mlflow/review-queues/get since=3.14
        review-queues.get-by-name         GET    /api/3.0/mlflow/review-queues/get-by-name since=3.14
        review-queues.list-items          GET    /api/3.0/mlflow/review-queues/items/list since=3.14
        review-queues.list                GET    /api/3.0/mlflow/review-queues/list since=3.14
        scorers.get                       GET    /api/3.0/mlflow/scorers/get since=3.10
        scorers.list                      GET    /api/3.0/mlflow/scorers/list since=3.10
        scorers.online-configs            GET    /api/3.0/mlflow/scorers/online-configs since=3.10
        scorers.list-versions             GET    /api/3.0/mlflow/scorers/versions since=3.10
    """,
    (Scope.TRACKING_WRITE,): """
        experiments.create               POST   /api/2.0/mlflow/experiments/create
            new=experiment:experiment_id tag=tags[].key
        experiments.delete-tag           POST   /api/2.0/mlflow/experiments/delete-experiment-tag since=3.10
            on=experiment:experiment_id tag=key
        experiments.restore              POST   /api/2.0/mlflow/experiments/restore
            on=experiment:experiment_id
        experiments.set-tag              POST   /api/2.0/mlflow/experiments/set-experiment-tag
            on=experiment:experiment_id tag=key
        experiments.update               POST   /api/2.0/mlflow/experiments/update
            on=experiment:experiment_id
        logged-models.create             POST   /api/2.0/mlflow/logged-models since=3.1
            in=experiment:experiment_id ref=run:source_run_id new=logged_model:model.info.model_id tag=tags[].key
        logged-models.finalize           PATCH  /api/2.0/mlflow/logged-models/{model_id} since=3.1
            on=logged_model:{model_id} on=logged_model:model_id
        logged-models.log-params         POST   /api/2.0/mlflow/logged-models/{model_id}/params since=3.1
            on=logged_model:{model_id} on=logged_model:model_id
        logged-models.set-tags           PATCH  /api/2.0/mlflow/logged-models/{model_id}/tags since=3.1
            on=logged_model:{model_id} on=logged_model:model_id tag=tags[].key
        logged-models.delete-tag         DELETE /api/2.0/mlflow/logged-models/{model_id}/tags/{tag_key} since=3.1
            on=logged_model:{model_id} tag={tag_key}
        runs.create                      POST   /api/2.0/mlflow/runs/create
            in=experiment:experiment_id new=run:run.info.run_id tag=tags[].key
        runs.delete-tag                  POST   /api/2.0/mlflow/runs/delete-tag
            on=run:run_id tag=key
        runs.log-batch                   POST   /api/2.0/mlflow/runs/log-batch
            on=run:run_id on=logged_model:metrics[].model_id ref=logged_model:metrics[].model_id tag=tags[].key
        runs.log-inputs                  POST   /api/2.0/mlflow/runs/log-inputs
            on=run:run_id ref=logged_model:models[].model_id tag=datasets[].tags[].key
        runs.log-metric                  POST   /api/2.0/mlflow/runs/log-metric
            on=run:run_id on=run:run_uuid on=logged_model:model_id ref=logged_model:model_id
        runs.log-model                   POST   /api/2.0/mlflow/runs/log-model
            on=run:run_id
        runs.log-parameter               POST   /api/2.0/mlflow/runs/log-parameter
            on=run:run_id on=run:run_uuid
        runs.log-outputs                 POST   /api/2.0/mlflow/runs/outputs since=3.1
            on=run:run_id on=logged_model:models[].model_id ref=logged_model:models[].model_id
        runs.restore                     POST   /api/2.0/mlflow/runs/restore
            on=run:run_id
        runs.set-tag                     POST   /api/2.0/mlflow/runs/set-tag
            on=run:run_id on=run:run_uuid tag=key
        runs.update                      POST   /api/2.0/mlflow/runs/update
            on=run:run_id on=run:run_uuid
        datasets.create                  POST   /api/3.0/mlflow/datasets/create since=3.10
            in=experiment:experiment_ids[] ref=experiment:experiment_ids[] new=dataset:dataset.dataset_id tag=tags{}
        datasets.add-experiments         POST   /api/3.0/mlflow/datasets/{dataset_id}/add-experiments since=3.10
            on=dataset:{dataset_id} in=experiment:experiment_ids[] ref=experiment:experiment_ids[]
        datasets.upsert-records          POST   /api/3.0/mlflow/datasets/{dataset_id}/records since=3.10
            on=dataset:{dataset_id}
        datasets.remove-experiments      POST   /api/3.0/mlflow/datasets/{dataset_id}/remove-experiments since=3.10
            on=dataset:{dataset_id}
        datasets.set-tags                PATCH  /api/3.0/mlflow/datasets/{dataset_id}/tags since=3.10
            on=dataset:{dataset_id} tag=tags{}
        datasets.delete-tag              DELETE /api/3.0/mlflow/datasets/{dataset_id}/tags/{key} since=3.10
            on=dataset:{dataset_id} tag={key}
        issues.create                    POST   /api/3.0/mlflow/issues since=3.14
            in=experiment:experiment_id ref=run:source_run_id new=issue:issue.issue_id
        issues.update                    PATCH  /api/3.0/mlflow/issues/{issue_id} since=3.14
            on=issue:{issue_id} on=issue:issue_id
        label-schemas.create             POST   /api/3.0/mlflow/label-schemas/create since=3.14
            in=experiment:experiment_id new=label_schema:label_schema.schema_id
        label-schemas.update             PATCH  /api/3.0/mlflow/label-schemas/update since=3.14
            on=label_schema:schema_id
        review-queues.create             POST   /api/3.0/mlflow/review-queues/create since=3.14
            in=experiment:experiment_id new=review_queue:review_queue.queue_id
        review-queues.get-or-create-user POST   /api/3.0/mlflow/review-queues/get-or-create-user since=3.14
            in=experiment:experiment_id
        review-queues.add-items          POST   /api/3.0/mlflow/review-queues/items/add since=3.14
            on=review_queue:queue_id ref=trace:item_ids[]
        review-queues.remove-items       POST   /api/3.0/mlflow/review-queues/items/remove since=3.14
            on=review_queue:queue_id
        review-queues.set-item-status    POST   /api/3.0/mlflow/review-queues/items/set-status since=3.14
            on=review_queue:queue_id
        review-queues.update             POST   /api/3.0/mlflow/review-queues/update since=3.14
            on=review_queue:queue_id
        scorers.register                 POST   /api/3.0/mlflow/scorers/register since=3.10
            on=experiment:experiment_id
    """,
    (Scope.TRACKING_DELETE,): """
        experiments.delete      POST   /api/2.0/mlflow/experiments/delete
            on=experiment:experiment_id
        logged-models.delete    DELETE /api/2.0/mlflow/logged-models/{model_id} since=3.1
            on=logged_model:{model_id}
        runs.delete             POST   /api/2.0/mlflow/runs/delete
            on=run:run_id
        datasets.delete         DELETE /api/3.0/mlflow/datasets/{dataset_id} since=3.10
            on=dataset:{dataset_id}
        datasets.delete-records DELETE /api/3.0/mlflow/datasets/{dataset_id}/records since=3.10
            on=dataset:{dataset_id}
        label-schemas.delete    DELETE /api/3.0/mlflow/label-schemas/delete since=3.14
            on=label_schema:schema_id
        review-queues.delete    POST   /api/3.0/mlflow/review-queues/delete since=3.14
            on=review_queue:queue_id
        scorers.delete          DELETE /api/3.0/mlflow/scorers/delete since=3.10
            on=experiment:experiment_id
    """,
    (Scope.REGISTRY_READ,): """
        model-versions.get                    GET    /api/2.0/mlflow/model-versions/get
        model-versions.get-download-uri       GET    /api/2.0/mlflow/model-versions/get-download-uri
        model-versions.search                 GET    /api/2.0/mlflow/model-versions/search
        registered-models.get-by-alias        GET    /api/2.0/mlflow/registered-models/alias
        registered-models.get                 GET    /api/2.0/mlflow/registered-models/get
        registered-models.get-latest-versions GET    /api/2.0/mlflow/registered-models/get-latest-versions
        registered-models.get-latest-versions POST   /api/2.0/mlflow/registered-models/get-latest-versions
        registered-models.search              GET    /api/2.0/mlflow/registered-models/search
        mcp-servers.search                    GET    /api/3.0/mlflow/mcp-servers since=3.17
        mcp-servers.search-endpoints          GET    /api/3.0/mlflow/mcp-servers/endpoints since=3.17
        mcp-servers.get                       GET    /api/3.0/mlflow/mcp-servers/{name:path} since=3.17
        mcp-servers.get-by-alias              GET    /api/3.0/mlflow/mcp-servers/{name:path}/aliases/{alias:path} since=3.17
        mcp-servers.list-endpoints            GET    /api/3.0/mlflow/mcp-servers/{name:path}/endpoints since=3.17
        mcp-servers.get-endpoint              GET    /api/3.0/mlflow/mcp-servers/{name:path}/endpoints/{endpoint_id} since=3.17
        mcp-servers.list-versions             GET    /api/3.0/mlflow/mcp-servers/{name:path}/versions since=3.17
        mcp-servers.get-version               GET    /api/3.0/mlflow/mcp-servers/{name:path}/versions/{version:path} since=3.17
        skills.search                         GET    /api/3.0/mlflow/skills since=3.18
        skills.get                            GET    /api/3.0/mlflow/skills/{name} since=3.18
        skills.get-by-alias                   GET    /api/3.0/mlflow/skills/{name}/aliases/{alias} since=3.18
        skills.search-versions                GET    /api/3.0/mlflow/skills/{name}/versions since=3.18
        skills.get-version                    GET    /api/3.0/mlflow/skills/{name}/versions/{version} since=3.18
        skills.get                            GET    /api/3.0/mlflow/skills/@{organization}/{name} since=3.18
        skills.get-by-alias                   GET    /api/3.0/mlflow/skills/@{organization}/{name}/aliases/{alias} since=3.18
        skills.search-versions                GET    /api/3.0/mlflow/skills/@{organization}/{name}/versions since=3.18
        skills.get-version                    GET    /api/3.0/mlflow/skills/@{organization}/{name}/versions/{version} since=3.18
    """,
    (Scope.REGISTRY_WRITE,): """
        model-versions.create           POST   /api/2.0/mlflow/model-versions/create
            on=registered_model:name on=logged_model:model_id new=model_version:model_version.version tag=tags[].key
            ref=run:run_id ref=logged_model:model_id
        model-versions.delete-tag       DELETE /api/2.0/mlflow/model-versions/delete-tag
            on=registered_model:name tag=key
        model-versions.set-tag          POST   /api/2.0/mlflow/model-versions/set-tag
            on=registered_model:name tag=key
        model-versions.transition-stage POST   /api/2.0/mlflow/model-versions/transition-stage
            on=registered_model:name
        model-versions.update           PATCH  /api/2.0/mlflow/model-versions/update
            on=registered_model:name
        registered-models.delete-alias  DELETE /api/2.0/mlflow/registered-models/alias
            on=registered_model:name
        registered-models.set-alias     POST   /api/2.0/mlflow/registered-models/alias
            on=registered_model:name
        registered-models.create        POST   /api/2.0/mlflow/registered-models/create
            new=registered_model:registered_model.name tag=tags[].key
        registered-models.delete-tag    DELETE /api/2.0/mlflow/registered-models/delete-tag
            on=registered_model:name tag=key
        registered-models.rename        POST   /api/2.0/mlflow/registered-models/rename
            on=registered_model:name
        registered-models.set-tag       POST   /api/2.0/mlflow/registered-models/set-tag
            on=registered_model:name tag=key
        registered-models.update        PATCH  /api/2.0/mlflow/registered-models/update
            on=registered_model:name
    """,
    (Scope.REGISTRY_DELETE,): """
        model-versions.delete    DELETE /api/2.0/mlflow/model-versions/delete
            on=registered_model:name
        registered-models.delete DELETE /api/2.0/mlflow/registered-models/delete
            on=registered_model:name
    """,
    (Scope.ARTIFACTS_READ,): """
        logged-models.get-artifact       GET    /ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files since=3.1
        artifacts.list                   GET    /api/2.0/mlflow-artifacts/artifacts
        artifacts.download               GET    /api/2.0/mlflow-artifacts/artifacts/{artifact_path:path}
        artifacts.presigned              GET    /api/2.0/mlflow-artifacts/presigned/{artifact_path:path} since=3.14
        artifacts.list-run               GET    /api/2.0/mlflow/artifacts/list
        artifacts.presigned-download-url POST   /api/2.0/mlflow/artifacts/presigned-download-url since=3.17
        logged-models.list-artifacts     GET    /api/2.0/mlflow/logged-models/{model_id}/artifacts/directories since=3.1
    """,
    (Scope.ARTIFACTS_WRITE,): """
        artifacts.upload               PUT    /api/2.0/mlflow-artifacts/artifacts/{artifact_path:path}
            on=artifact:{artifact_path}
        artifacts.mpu-abort            POST   /api/2.0/mlflow-artifacts/mpu/abort/{artifact_path:path}
            on=artifact:{artifact_path}
        artifacts.mpu-complete         POST   /api/2.0/mlflow-artifacts/mpu/complete/{artifact_path:path}
            on=artifact:{artifact_path}
        artifacts.mpu-create           POST   /api/2.0/mlflow-artifacts/mpu/create/{artifact_path:path}
            on=artifact:{artifact_path}
        artifacts.presigned-upload-url POST   /api/2.0/mlflow/artifacts/presigned-upload-url since=3.14
            on=run:run_id on=logged_model:model_id
    """,
    (Scope.ARTIFACTS_DELETE,): """
        artifacts.delete DELETE /api/2.0/mlflow-artifacts/artifacts/{artifact_path:path}
            on=artifact:{artifact_path}
    """,
    (Scope.TRACES_READ,): """
        traces.get-artifact                 GET    /ajax-api/2.0/mlflow/get-trace-artifact
        traces.get-artifact                 GET    /ajax-api/3.0/mlflow/get-trace-artifact since=3.10
        traces.search-v2                    GET    /api/2.0/mlflow/traces
        traces.get-info-v2                  GET    /api/2.0/mlflow/traces/{request_id}/info
        traces.batch-get                    GET    /api/3.0/mlflow/traces/batchGet since=3.10
        traces.batch-get-infos              POST   /api/3.0/mlflow/traces/batchGetInfos since=3.14
        traces.calculate-filter-correlation POST   /api/3.0/mlflow/traces/calculate-filter-correlation since=3.10
        traces.get                          GET    /api/3.0/mlflow/traces/get since=3.10
        traces.metrics                      POST   /api/3.0/mlflow/traces/metrics since=3.10
        traces.search                       POST   /api/3.0/mlflow/traces/search since=3.10
        traces.get-info                     GET    /api/3.0/mlflow/traces/{trace_id} since=3.10
        assessments.get                     GET    /api/3.0/mlflow/traces/{trace_id}/assessments/{assessment_id} since=3.10
    """,
    (Scope.TRACES_WRITE,): """
        traces.start-v2     POST   /api/2.0/mlflow/traces
            in=experiment:experiment_id new=trace:trace_info.request_id tag=tags[].key
        traces.link-prompts POST   /api/2.0/mlflow/traces/link-prompts since=3.10
            on=trace:trace_id
        traces.link-to-run  POST   /api/2.0/mlflow/traces/link-to-run since=3.10
            on=run:run_id ref=trace:trace_ids[]
        traces.end-v2       PATCH  /api/2.0/mlflow/traces/{request_id}
            on=trace:{request_id} on=trace:request_id tag=tags[].key
        traces.delete-tag   DELETE /api/2.0/mlflow/traces/{request_id}/tags
            on=trace:{request_id} tag=key
        traces.set-tag      PATCH  /api/2.0/mlflow/traces/{request_id}/tags
            on=trace:{request_id} tag=key
        traces.start        POST   /api/3.0/mlflow/traces since=3.10
            in=experiment:trace.trace_info.trace_location.mlflow_experiment.experiment_id claim=trace:trace.trace_info.trace_id
            ref=experiment:trace.trace_info.trace_location.mlflow_experiment.experiment_id new=assessment:trace.trace_info.assessments[].assessment_id tag=trace.trace_info.tags{}
        assessments.create  POST   /api/3.0/mlflow/traces/{trace_id}/assessments since=3.10
            on=trace:{trace_id} new=assessment:assessment.assessment_id
        assessments.update  PATCH  /api/3.0/mlflow/traces/{trace_id}/assessments/{assessment_id} since=3.10
            on=trace:{trace_id}
        traces.delete-tag   DELETE /api/3.0/mlflow/traces/{trace_id}/tags since=3.10
            on=trace:{trace_id} tag=key
        traces.set-tag      PATCH  /api/3.0/mlflow/traces/{trace_id}/tags since=3.10
            on=trace:{trace_id} tag=key
        traces.export-otlp  POST   /v1/traces since=3.10
            in=experiment:@x-mlflow-experiment-id on=run:@x-mlflow-run-id claim=trace:otlp ref=experiment:@x-mlflow-experiment-id
    """,
    (Scope.TRACES_DELETE,): """
        traces.delete      POST   /api/2.0/mlflow/traces/delete-traces
            on=trace:request_ids[]
        traces.delete      POST   /api/3.0/mlflow/traces/delete-traces since=3.10
            on=trace:request_ids[]
        assessments.delete DELETE /api/3.0/mlflow/traces/{trace_id}/assessments/{assessment_id} since=3.10
            on=trace:{trace_id}
    """,
    # It answers with runs, versions and artifact listings alike, and cannot write.
    (Scope.TRACKING_READ, Scope.REGISTRY_READ, Scope.ARTIFACTS_READ): """
        graphql.query GET    /graphql
        graphql.query POST   /graphql
    """,
    # What clients probe: any key.
    (): """
        meta.server-info GET    /api/3.0/mlflow/server-info since=3.10
        meta.health      GET    /health
        meta.version     GET    /version
    """,
}


PAGES: dict[tuple[Scope, ...], str] = {
    (): """
        pages.index                GET    /
        pages.file                 GET    /static-files/{path:path}
    """,
    (Scope.ARTIFACTS_READ,): """
        pages.get-artifact         GET    /get-artifact
        pages.get-version-artifact GET    /model-versions/get-artifact
    """,
}

SERVED = parse_table(TABLE)
SERVED_TO_BROWSERS = parse_table(
    PAGES, only_browsers="it is part of MLflow's web pages, which are for signed-in browsers"
)
