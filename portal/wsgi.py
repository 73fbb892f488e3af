"""The WSGI application that gunicorn serves, and the background threads of its process."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup(set_prefix=False)

from keys import limits  # noqa: E402
from keys.credentials import cache  # noqa: E402  needs Django set up
from portal.calls.dispatcher import PortalHandler  # noqa: E402
from portal.http import disks  # noqa: E402
from proxy.ledger import background  # noqa: E402
from proxy.provenance import background as manifests  # noqa: E402
from proxy.upstream import server_release  # noqa: E402
from proxy.usage import tracing, writer  # noqa: E402

application = PortalHandler()

cache.listen()
limits.start_refreshing()
writer.start()
tracing.start()
background.start()
manifests.start()
disks.start()
server_release.start()
