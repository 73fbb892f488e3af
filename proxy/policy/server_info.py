"""MLflow's `server-info`: which shortcuts around the portal its client may take, and what its pages offer. Pure."""

import json

DIRECT = ("multipart", "presigned")


def as_served(content: bytes, *, direct_artifacts: bool) -> bytes:
    """The answer without the AI gateway, whose routes are closed, and, unless `direct_artifacts`, with every
    multipart and presigned flag off, so that artifact bytes pass the portal.

    Content that is not a JSON object is returned as it is.
    """
    try:
        info = json.loads(content)
    except ValueError:
        return content
    if not isinstance(info, dict):
        return content
    if isinstance(features := info.get("features_enabled"), dict) and "gateway" in features:
        features["gateway"] = False
    for name, value in info.items():
        if name.startswith(DIRECT) and value is True:
            info[name] = direct_artifacts
    return json.dumps(info).encode()
