"""MLflow's routes that no key may call, by the reason that the refusal states. Pure.

`proxy.routes.served` explains `since=` and `until=`.
"""

from proxy.routes.parsing import parse_refused

REASONS: dict[str, str] = {
    "it administers MLflow's own users and roles": """
        POST   /api/2.0/mlflow/users/create-ui
        GET    /signup
        POST   /api/2.0/mlflow/users/create
        DELETE /api/2.0/mlflow/users/delete
        GET    /api/2.0/mlflow/users/get
        GET    /api/2.0/mlflow/users/list
        PATCH  /api/2.0/mlflow/users/update-admin
        PATCH  /api/2.0/mlflow/users/update-password
        POST   /api/3.0/mlflow/roles/assign
        POST   /api/3.0/mlflow/roles/create
        DELETE /api/3.0/mlflow/roles/delete
        GET    /api/3.0/mlflow/roles/get
        GET    /api/3.0/mlflow/roles/list
        POST   /api/3.0/mlflow/roles/permissions/add
        GET    /api/3.0/mlflow/roles/permissions/list
        DELETE /api/3.0/mlflow/roles/permissions/remove
        PATCH  /api/3.0/mlflow/roles/permissions/update
        DELETE /api/3.0/mlflow/roles/unassign
        PATCH  /api/3.0/mlflow/roles/update
        GET    /api/3.0/mlflow/roles/users/list
        GET    /api/3.0/mlflow/users/permissions/get
        POST   /api/3.0/mlflow/users/permissions/grant
        GET    /api/3.0/mlflow/users/permissions/list
        POST   /api/3.0/mlflow/users/permissions/revoke
        GET    /api/3.0/mlflow/users/roles/list
    """,
    "it reads MLflow's own users, which are not the portal's": """
        GET    /api/2.0/mlflow/users/current
        GET    /api/3.0/mlflow/users/current/permissions
    """,
    "it administers MLflow's workspaces": """
        GET    /api/3.0/mlflow/workspaces since=3.10
        POST   /api/3.0/mlflow/workspaces since=3.10
        DELETE /api/3.0/mlflow/workspaces/{workspace_name} since=3.10
        GET    /api/3.0/mlflow/workspaces/{workspace_name} since=3.10
        PATCH  /api/3.0/mlflow/workspaces/{workspace_name} since=3.10
    """,
    "the AI gateway holds secrets, spends money and calls other servers": """
        GET    /ajax-api/2.0/mlflow/gateway-proxy
        POST   /ajax-api/2.0/mlflow/gateway-proxy
        GET    /ajax-api/3.0/mlflow/gateway/provider-config since=3.10
        GET    /ajax-api/3.0/mlflow/gateway/secrets/config since=3.10
        GET    /ajax-api/3.0/mlflow/gateway/supported-models since=3.10
        GET    /ajax-api/3.0/mlflow/gateway/supported-providers since=3.10
        POST   /api/3.0/mlflow/gateway/budgets/create since=3.14
        DELETE /api/3.0/mlflow/gateway/budgets/delete since=3.14
        GET    /api/3.0/mlflow/gateway/budgets/get since=3.14
        GET    /api/3.0/mlflow/gateway/budgets/list since=3.14
        POST   /api/3.0/mlflow/gateway/budgets/update since=3.14
        GET    /api/3.0/mlflow/gateway/budgets/windows since=3.14
        POST   /api/3.0/mlflow/gateway/endpoints/bindings/create since=3.10
        DELETE /api/3.0/mlflow/gateway/endpoints/bindings/delete since=3.10
        GET    /api/3.0/mlflow/gateway/endpoints/bindings/list since=3.10
        POST   /api/3.0/mlflow/gateway/endpoints/create since=3.10
        DELETE /api/3.0/mlflow/gateway/endpoints/delete since=3.10
        DELETE /api/3.0/mlflow/gateway/endpoints/delete-tag since=3.10
        GET    /api/3.0/mlflow/gateway/endpoints/get since=3.10
        GET    /api/3.0/mlflow/gateway/endpoints/list since=3.10
        POST   /api/3.0/mlflow/gateway/endpoints/models/attach since=3.10
        POST   /api/3.0/mlflow/gateway/endpoints/models/detach since=3.10
        POST   /api/3.0/mlflow/gateway/endpoints/set-tag since=3.10
        POST   /api/3.0/mlflow/gateway/endpoints/update since=3.10
        POST   /api/3.0/mlflow/gateway/guardrails/add-to-endpoint since=3.14
        POST   /api/3.0/mlflow/gateway/guardrails/create since=3.14
        DELETE /api/3.0/mlflow/gateway/guardrails/delete since=3.14
        GET    /api/3.0/mlflow/gateway/guardrails/get since=3.14
        GET    /api/3.0/mlflow/gateway/guardrails/list since=3.14
        GET    /api/3.0/mlflow/gateway/guardrails/list-for-endpoint since=3.14
        DELETE /api/3.0/mlflow/gateway/guardrails/remove-from-endpoint since=3.14
        PATCH  /api/3.0/mlflow/gateway/guardrails/update-config since=3.14
        POST   /api/3.0/mlflow/gateway/model-definitions/create since=3.10
        DELETE /api/3.0/mlflow/gateway/model-definitions/delete since=3.10
        GET    /api/3.0/mlflow/gateway/model-definitions/get since=3.10
        GET    /api/3.0/mlflow/gateway/model-definitions/list since=3.10
        POST   /api/3.0/mlflow/gateway/model-definitions/update since=3.10
        POST   /api/3.0/mlflow/gateway/secrets/create since=3.10
        DELETE /api/3.0/mlflow/gateway/secrets/delete since=3.10
        GET    /api/3.0/mlflow/gateway/secrets/get since=3.10
        GET    /api/3.0/mlflow/gateway/secrets/list since=3.10
        POST   /api/3.0/mlflow/gateway/secrets/update since=3.10
    """,
    "it runs jobs on the server": """
        POST   /ajax-api/3.0/jobs/ since=3.10
        PATCH  /ajax-api/3.0/jobs/cancel/{job_id} since=3.10
        POST   /ajax-api/3.0/jobs/search since=3.10
        GET    /ajax-api/3.0/jobs/{job_id} since=3.10
        PATCH  /ajax-api/3.0/mlflow/jobs/cancel/{job_id} since=3.14
        GET    /ajax-api/3.0/mlflow/jobs/{job_id} since=3.14
        POST   /api/3.0/mlflow/prompt-optimization/jobs since=3.10
        GET    /api/3.0/mlflow/prompt-optimization/jobs/search since=3.10
        POST   /api/3.0/mlflow/prompt-optimization/jobs/search since=3.10
        DELETE /api/3.0/mlflow/prompt-optimization/jobs/{job_id} since=3.10
        GET    /api/3.0/mlflow/prompt-optimization/jobs/{job_id} since=3.10
        POST   /api/3.0/mlflow/prompt-optimization/jobs/{job_id}/cancel since=3.10
    """,
    "the assistant runs commands on the server": """
        GET    /ajax-api/3.0/mlflow/assistant/config since=3.10
        PUT    /ajax-api/3.0/mlflow/assistant/config since=3.10
        POST   /ajax-api/3.0/mlflow/assistant/message since=3.10
        GET    /ajax-api/3.0/mlflow/assistant/providers since=3.17
        GET    /ajax-api/3.0/mlflow/assistant/providers/{provider}/health since=3.10
        GET    /ajax-api/3.0/mlflow/assistant/providers/{provider}/models since=3.14
        PATCH  /ajax-api/3.0/mlflow/assistant/sessions/{session_id} since=3.10
        POST   /ajax-api/3.0/mlflow/assistant/sessions/{session_id}/permission since=3.17
        GET    /ajax-api/3.0/mlflow/assistant/sessions/{session_id}/stream since=3.10
        POST   /ajax-api/3.0/mlflow/assistant/sessions/{session_id}/tool-result since=3.17
        POST   /ajax-api/3.0/mlflow/assistant/skills/install since=3.10
    """,
    "it writes and deletes data that has no owner": """
        POST   /ajax-api/3.0/mlflow/demo/delete since=3.10
        POST   /ajax-api/3.0/mlflow/demo/generate since=3.10
    """,
    "it runs jobs on the server with stored secrets": """
        POST   /ajax-api/3.0/mlflow/genai/evaluate/invoke since=3.14
        POST   /ajax-api/3.0/mlflow/issues/schedule/state since=3.18
        POST   /ajax-api/3.0/mlflow/issues/invoke since=3.14
        POST   /ajax-api/3.0/mlflow/scorer/invoke since=3.10
    """,
    "the AI gateway spends the server's credentials": """
        POST   /gateway/anthropic/v1/messages since=3.10
        POST   /gateway/gemini/v1beta/models/{endpoint_name}:generateContent since=3.10
        POST   /gateway/gemini/v1beta/models/{endpoint_name}:streamGenerateContent since=3.10
        POST   /gateway/mlflow/v1/chat/completions since=3.10
        GET    /gateway/mlflow/v1/models since=3.17
        POST   /gateway/openai/v1/chat/completions since=3.10
        POST   /gateway/openai/v1/embeddings since=3.10
        POST   /gateway/openai/v1/responses since=3.10
        POST   /gateway/openai/v1/responses/compact since=3.14
        POST   /gateway/proxy/{endpoint_name}/{path:path} since=3.14
        POST   /gateway/typesafe/v1/systemone since=3.17
        POST   /gateway/{endpoint_name}/mlflow/invocations since=3.10
    """,
    "webhooks make the server call other addresses": """
        GET    /api/2.0/mlflow/webhooks since=3.10
        POST   /api/2.0/mlflow/webhooks since=3.10
        DELETE /api/2.0/mlflow/webhooks/{webhook_id} since=3.10
        GET    /api/2.0/mlflow/webhooks/{webhook_id} since=3.10
        PATCH  /api/2.0/mlflow/webhooks/{webhook_id} since=3.10
        POST   /api/2.0/mlflow/webhooks/{webhook_id}/test since=3.10
    """,
    "it changes the registry of tool servers, which no key's user owns": """
        POST   /api/3.0/mlflow/mcp-servers since=3.17
        DELETE /api/3.0/mlflow/mcp-servers/{name:path} since=3.17
        PATCH  /api/3.0/mlflow/mcp-servers/{name:path} since=3.17
        POST   /api/3.0/mlflow/mcp-servers/{name:path}/aliases since=3.17
        DELETE /api/3.0/mlflow/mcp-servers/{name:path}/aliases/{alias:path} since=3.17
        POST   /api/3.0/mlflow/mcp-servers/{name:path}/endpoints since=3.17
        DELETE /api/3.0/mlflow/mcp-servers/{name:path}/endpoints/{endpoint_id} since=3.17
        PATCH  /api/3.0/mlflow/mcp-servers/{name:path}/endpoints/{endpoint_id} since=3.17
        POST   /api/3.0/mlflow/mcp-servers/{name:path}/tags since=3.17
        DELETE /api/3.0/mlflow/mcp-servers/{name:path}/tags/{key:path} since=3.17
        POST   /api/3.0/mlflow/mcp-servers/{name:path}/versions since=3.17
        DELETE /api/3.0/mlflow/mcp-servers/{name:path}/versions/{version:path} since=3.17
        PATCH  /api/3.0/mlflow/mcp-servers/{name:path}/versions/{version:path} since=3.17
        POST   /api/3.0/mlflow/mcp-servers/{name:path}/versions/{version:path}/tags since=3.17
        DELETE /api/3.0/mlflow/mcp-servers/{name:path}/versions/{version:path}/tags/{key:path} since=3.17
    """,
    "it changes the registry of skills, which no key's user owns": """
        POST   /api/3.0/mlflow/skills since=3.18
        DELETE /api/3.0/mlflow/skills/@{organization}/{name} since=3.18
        PATCH  /api/3.0/mlflow/skills/@{organization}/{name} since=3.18
        POST   /api/3.0/mlflow/skills/@{organization}/{name}/aliases since=3.18
        DELETE /api/3.0/mlflow/skills/@{organization}/{name}/aliases/{alias} since=3.18
        POST   /api/3.0/mlflow/skills/@{organization}/{name}/tags since=3.18
        DELETE /api/3.0/mlflow/skills/@{organization}/{name}/tags/{key:path} since=3.18
        POST   /api/3.0/mlflow/skills/@{organization}/{name}/versions since=3.18
        DELETE /api/3.0/mlflow/skills/@{organization}/{name}/versions/{version} since=3.18
        PATCH  /api/3.0/mlflow/skills/@{organization}/{name}/versions/{version} since=3.18
        POST   /api/3.0/mlflow/skills/@{organization}/{name}/versions/{version}/tags since=3.18
        DELETE /api/3.0/mlflow/skills/@{organization}/{name}/versions/{version}/tags/{key:path} since=3.18
        POST   /api/3.0/mlflow/skills/bulk-register since=3.18
        DELETE /api/3.0/mlflow/skills/{name} since=3.18
        PATCH  /api/3.0/mlflow/skills/{name} since=3.18
        POST   /api/3.0/mlflow/skills/{name}/aliases since=3.18
        DELETE /api/3.0/mlflow/skills/{name}/aliases/{alias} since=3.18
        POST   /api/3.0/mlflow/skills/{name}/tags since=3.18
        DELETE /api/3.0/mlflow/skills/{name}/tags/{key:path} since=3.18
        POST   /api/3.0/mlflow/skills/{name}/versions since=3.18
        DELETE /api/3.0/mlflow/skills/{name}/versions/{version} since=3.18
        PATCH  /api/3.0/mlflow/skills/{name}/versions/{version} since=3.18
        POST   /api/3.0/mlflow/skills/{name}/versions/{version}/tags since=3.18
        DELETE /api/3.0/mlflow/skills/{name}/versions/{version}/tags/{key:path} since=3.18
    """,
    "the server would later run what is stored": """
        PUT    /api/3.0/mlflow/scorers/online-config since=3.10
    """,
    "MLflow's open-source server does not serve it": """
        GET    /api/2.0/mlflow/get-online-trace-details since=3.1
        GET    /api/2.0/mlflow/unified-traces since=3.1
        POST   /api/2.0mlflow/experiments/search-datasets
    """,
    "it is part of MLflow's web pages, which are for browsers": """
        GET    /build/{filename:path}
    """,
    "it sends telemetry from the server to third parties": """
        GET    /ajax-api/3.0/mlflow/ui-telemetry since=3.10
        POST   /ajax-api/3.0/mlflow/ui-telemetry since=3.10
    """,
    "it writes wherever an experiment's artifact location points; use the client's log_artifact": """
        POST   /ajax-api/2.0/mlflow/upload-artifact
    """,
    "the server would write artifacts of its own": """
        POST   /ajax-api/2.0/mlflow/runs/create-promptlab-run
    """,
}


REFUSED = parse_refused(REASONS)
