"""MLflow's `server-info`: which shortcuts around the portal its client may take. Pure."""

import json

DIRECT = ("multipart", "presigned")


def without_direct_artifacts(content: bytes) -> bytes:
    """The answer with every multipart and presigned flag off, so that artifact bytes pass the portal.

    Content that is not a JSON object is returned as it is.
    """
    try:
        info = json.loads(content)
    except ValueError:
        return content
    if not isinstance(info, dict):
        return content
    return json.dumps(
        {name: False if name.startswith(DIRECT) and value is True else value for name, value in info.items()}
    ).encode()
