"""MLflow's routes that no key may call, by the reason that the refusal states. Pure."""

from proxy.routes.operations import Operation

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
        GET    /api/3.0/mlflow/workspaces
        POST   /api/3.0/mlflow/workspaces
        DELETE /api/3.0/mlflow/workspaces/{workspace_name}
        GET    /api/3.0/mlflow/workspaces/{workspace_name}
        PATCH  /api/3.0/mlflow/workspaces/{workspace_name}
    """,
    "the AI gateway holds secrets, spends money and calls other servers": """
        GET    /ajax-api/2.0/mlflow/gateway-proxy
        POST   /ajax-api/2.0/mlflow/gateway-proxy
        GET    /ajax-api/3.0/mlflow/gateway/provider-config
        GET    /ajax-api/3.0/mlflow/gateway/secrets/config
        GET    /ajax-api/3.0/mlflow/gateway/supported-models
        GET    /ajax-api/3.0/mlflow/gateway/supported-providers
        POST   /api/3.0/mlflow/gateway/budgets/create
        DELETE /api/3.0/mlflow/gateway/budgets/delete
        GET    /api/3.0/mlflow/gateway/budgets/get
        GET    /api/3.0/mlflow/gateway/budgets/list
        POST   /api/3.0/mlflow/gateway/budgets/update
        GET    /api/3.0/mlflow/gateway/budgets/windows
        POST   /api/3.0/mlflow/gateway/endpoints/bindings/create
        DELETE /api/3.0/mlflow/gateway/endpoints/bindings/delete
        GET    /api/3.0/mlflow/gateway/endpoints/bindings/list
        POST   /api/3.0/mlflow/gateway/endpoints/create
        DELETE /api/3.0/mlflow/gateway/endpoints/delete
        DELETE /api/3.0/mlflow/gateway/endpoints/delete-tag
        GET    /api/3.0/mlflow/gateway/endpoints/get
        GET    /api/3.0/mlflow/gateway/endpoints/list
        POST   /api/3.0/mlflow/gateway/endpoints/models/attach
        POST   /api/3.0/mlflow/gateway/endpoints/models/detach
        POST   /api/3.0/mlflow/gateway/endpoints/set-tag
        POST   /api/3.0/mlflow/gateway/endpoints/update
        POST   /api/3.0/mlflow/gateway/guardrails/add-to-endpoint
        POST   /api/3.0/mlflow/gateway/guardrails/create
        DELETE /api/3.0/mlflow/gateway/guardrails/delete
        GET    /api/3.0/mlflow/gateway/guardrails/get
        GET    /api/3.0/mlflow/gateway/guardrails/list
        GET    /api/3.0/mlflow/gateway/guardrails/list-for-endpoint
        DELETE /api/3.0/mlflow/gateway/guardrails/remove-from-endpoint
        PATCH  /api/3.0/mlflow/gateway/guardrails/update-config
        POST   /api/3.0/mlflow/gateway/model-definitions/create
        DELETE /api/3.0/mlflow/gateway/model-definitions/delete
        GET    /api/3.0/mlflow/gateway/model-definitions/get
        GET    /api/3.0/mlflow/gateway/model-definitions/list
        POST   /api/3.0/mlflow/gateway/model-definitions/update
        POST   /api/3.0/mlflow/gateway/secrets/create
        DELETE /api/3.0/mlflow/gateway/secrets/delete
        GET    /api/3.0/mlflow/gateway/secrets/get
        GET    /api/3.0/mlflow/gateway/secrets/list
        POST   /api/3.0/mlflow/gateway/secrets/update
    """,
    "it runs jobs on the server": """
        POST   /ajax-api/3.0/jobs/
        PATCH  /ajax-api/3.0/jobs/cancel/{job_id}
        POST   /ajax-api/3.0/jobs/search
        GET    /ajax-api/3.0/jobs/{job_id}
        PATCH  /ajax-api/3.0/mlflow/jobs/cancel/{job_id}
        GET    /ajax-api/3.0/mlflow/jobs/{job_id}
        POST   /api/3.0/mlflow/prompt-optimization/jobs
        GET    /api/3.0/mlflow/prompt-optimization/jobs/search
        POST   /api/3.0/mlflow/prompt-optimization/jobs/search
        DELETE /api/3.0/mlflow/prompt-optimization/jobs/{job_id}
        GET    /api/3.0/mlflow/prompt-optimization/jobs/{job_id}
        POST   /api/3.0/mlflow/prompt-optimization/jobs/{job_id}/cancel
    """,
    "the assistant runs commands on the server": """
        GET    /ajax-api/3.0/mlflow/assistant/config
        PUT    /ajax-api/3.0/mlflow/assistant/config
        POST   /ajax-api/3.0/mlflow/assistant/message
        GET    /ajax-api/3.0/mlflow/assistant/providers
        GET    /ajax-api/3.0/mlflow/assistant/providers/{provider}/health
        GET    /ajax-api/3.0/mlflow/assistant/providers/{provider}/models
        PATCH  /ajax-api/3.0/mlflow/assistant/sessions/{session_id}
        POST   /ajax-api/3.0/mlflow/assistant/sessions/{session_id}/permission
        GET    /ajax-api/3.0/mlflow/assistant/sessions/{session_id}/stream
        POST   /ajax-api/3.0/mlflow/assistant/sessions/{session_id}/tool-result
        POST   /ajax-api/3.0/mlflow/assistant/skills/install
    """,
    "it writes and deletes data that has no owner": """
        POST   /ajax-api/3.0/mlflow/demo/delete
        POST   /ajax-api/3.0/mlflow/demo/generate
    """,
    "it runs jobs on the server with stored secrets": """
        POST   /ajax-api/3.0/mlflow/genai/evaluate/invoke
        POST   /ajax-api/3.0/mlflow/issues/invoke
        POST   /ajax-api/3.0/mlflow/scorer/invoke
    """,
    "the AI gateway spends the server's credentials": """
        POST   /gateway/anthropic/v1/messages
        POST   /gateway/gemini/v1beta/models/{endpoint_name}:generateContent
        POST   /gateway/gemini/v1beta/models/{endpoint_name}:streamGenerateContent
        POST   /gateway/mlflow/v1/chat/completions
        GET    /gateway/mlflow/v1/models
        POST   /gateway/openai/v1/chat/completions
        POST   /gateway/openai/v1/embeddings
        POST   /gateway/openai/v1/responses
        POST   /gateway/openai/v1/responses/compact
        POST   /gateway/proxy/{endpoint_name}/{path:path}
        POST   /gateway/typesafe/v1/systemone
        POST   /gateway/{endpoint_name}/mlflow/invocations
    """,
    "webhooks make the server call other addresses": """
        GET    /api/2.0/mlflow/webhooks
        POST   /api/2.0/mlflow/webhooks
        DELETE /api/2.0/mlflow/webhooks/{webhook_id}
        GET    /api/2.0/mlflow/webhooks/{webhook_id}
        PATCH  /api/2.0/mlflow/webhooks/{webhook_id}
        POST   /api/2.0/mlflow/webhooks/{webhook_id}/test
    """,
    "it changes the registry of tool servers, which no key's user owns": """
        POST   /api/3.0/mlflow/mcp-servers
        DELETE /api/3.0/mlflow/mcp-servers/{name:path}
        PATCH  /api/3.0/mlflow/mcp-servers/{name:path}
        POST   /api/3.0/mlflow/mcp-servers/{name:path}/aliases
        DELETE /api/3.0/mlflow/mcp-servers/{name:path}/aliases/{alias:path}
        POST   /api/3.0/mlflow/mcp-servers/{name:path}/endpoints
        DELETE /api/3.0/mlflow/mcp-servers/{name:path}/endpoints/{endpoint_id}
        PATCH  /api/3.0/mlflow/mcp-servers/{name:path}/endpoints/{endpoint_id}
        POST   /api/3.0/mlflow/mcp-servers/{name:path}/tags
        DELETE /api/3.0/mlflow/mcp-servers/{name:path}/tags/{key:path}
        POST   /api/3.0/mlflow/mcp-servers/{name:path}/versions
        DELETE /api/3.0/mlflow/mcp-servers/{name:path}/versions/{version:path}
        PATCH  /api/3.0/mlflow/mcp-servers/{name:path}/versions/{version:path}
        POST   /api/3.0/mlflow/mcp-servers/{name:path}/versions/{version:path}/tags
        DELETE /api/3.0/mlflow/mcp-servers/{name:path}/versions/{version:path}/tags/{key:path}
    """,
    "the server would later run what is stored": """
        PUT    /api/3.0/mlflow/scorers/online-config
        POST   /api/3.0/mlflow/scorers/register
    """,
    "MLflow's open-source server does not serve it": """
        GET    /api/2.0/mlflow/get-online-trace-details
        GET    /api/2.0/mlflow/unified-traces
        POST   /api/2.0mlflow/experiments/search-datasets
    """,
    "it is part of MLflow's web pages, which are for browsers": """
        GET    /build/{filename:path}
    """,
    "it sends telemetry from the server to third parties": """
        GET    /ajax-api/3.0/mlflow/ui-telemetry
        POST   /ajax-api/3.0/mlflow/ui-telemetry
    """,
    "it writes wherever an experiment's artifact location points; use the client's log_artifact": """
        POST   /ajax-api/2.0/mlflow/upload-artifact
    """,
    "the server would write artifacts of its own": """
        POST   /ajax-api/2.0/mlflow/runs/create-promptlab-run
    """,
}


REFUSED = tuple(
    Operation(name=f"{method} {path}", method=method, path=path, refused=reason)
    for reason, routes in REASONS.items()
    for method, path in (route.split() for route in routes.strip().splitlines())
)
