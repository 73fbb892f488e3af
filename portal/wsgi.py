import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

application = get_wsgi_application()

from keys import cache, limits  # noqa: E402  needs Django set up
from proxy import tracing, usage_writer  # noqa: E402

cache.listen()
limits.start()
usage_writer.start()
tracing.start()
