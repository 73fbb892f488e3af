"""MLflow's `server-info`: which transfers its client makes without the portal, and what its pages offer. Pure."""

import json

DIRECT = ("multipart", "presigned")


def filter_flags(content: bytes, *, direct_artifacts: bool) -> bytes:
    """The response without the AI gateway, whose routes are refused, and, unless `direct_artifacts`, with every
    multipart and presigned flag off, so that artifact bytes pass through the portal.

    Content that is not a JSON object is returned unchanged.
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
