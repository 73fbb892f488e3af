import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

application = get_wsgi_application()

from keys import limits  # noqa: E402
from keys.credentials import cache  # noqa: E402  needs Django set up
from proxy.usage import tracing, writer  # noqa: E402

cache.listen()
limits.start()
writer.start()
tracing.start()
