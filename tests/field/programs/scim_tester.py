"""Every check of scim2-tester against the portal's SCIM service; prints one line for each that does not pass.

Arguments: the service's address and a key with the scope portal:scim.
"""

import sys
from collections import Counter

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

address, key = sys.argv[1:]
http = Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=30)
results = check_server(SyncSCIMClient(http))
for result in results:
    if result.status not in (Status.SUCCESS, Status.COMPLIANT, Status.ACCEPTABLE):
        print(result.status.name, result.resource_type, result.title, result.reason)
counted = Counter(result.status.name.lower() for result in results)
print(", ".join(f"{number} {name}" for name, number in sorted(counted.items())))
sys.exit(any(result.status in (Status.ERROR, Status.CRITICAL) for result in results))
