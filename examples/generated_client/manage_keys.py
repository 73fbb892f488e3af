"""Issue, list, rotate and revoke a key with a Python client that is generated from the portal's schema.

Generate the client, then run this file beside it:

    curl "$PORTAL/api/v1/schema/" -o openapi.json
    pip install openapi-python-client==0.29.1 ruff
    openapi-python-client generate --path openapi.json --output-path hokusai_client --meta none
    PORTAL=https://HOST PORTAL_KEY=hk_live_… python manage_keys.py USER

PORTAL_KEY is a key with the scope portal:admin of a user who may issue keys. USER must exist.
"""

import os
import sys
from uuid import uuid4

from hokusai_client import AuthenticatedClient
from hokusai_client.api.calls import usage
from hokusai_client.api.keys import keys_issue, keys_list, keys_revoke, keys_rotate
from hokusai_client.models import (
    IssueRequest,
    OverlapEnum,
    PresetEnum,
    Problem,
    ReasonRequest,
    RotateRequest,
)


def checked(answer):
    """The answer of a call that must not fail; a Problem says why it did."""
    if answer is None or isinstance(answer, Problem):
        sys.exit(f"{answer.detail} ({answer.request_id})" if answer else "The portal sent something else.")
    return answer


client = AuthenticatedClient(base_url=os.environ["PORTAL"], token=os.environ["PORTAL_KEY"])
user = sys.argv[1]

wanted = IssueRequest(user=user, name="from Python", preset=PresetEnum.READER, expires_in="1d")
# With an Idempotency-Key, a retry after a lost response issues no second key.
issued = checked(keys_issue.sync(client=client, body=wanted, idempotency_key=str(uuid4())))
print(f"issued {issued.id}; it expires at {issued.expires_at:%Y-%m-%d %H:%M %Z}")

page = checked(keys_list.sync(client=client, user=user, q=issued.id))
print(f"it is {page.results[0].state}")

once = str(uuid4())
overlap = RotateRequest(overlap=OverlapEnum.VALUE_1)  # an hour
rotated = checked(keys_rotate.sync(issued.id, client=client, body=overlap, idempotency_key=once))
print(f"rotated; the old secret {rotated.previous.masked} works until {rotated.previous.ends_at:%H:%M %Z}")

revoked = checked(keys_revoke.sync(issued.id, client=client, body=ReasonRequest(reason="example")))
print(f"it is {revoked.state}")

sums = checked(usage.sync(client=client))
print(f"{sums.results[0].calls} calls since {sums.since:%Y-%m-%d}")
