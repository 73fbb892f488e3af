"""gunicorn's log as part of the portal's: the same format and destination, and without API keys."""

import logging.config
from typing import Any

from django.conf import settings
from gunicorn.glogging import Logger


class ServerLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger with the portal's handlers."""

    def setup(self, cfg: Any) -> None:
        self.cfg, self.loglevel = cfg, logging.INFO
        logging.config.dictConfig(settings.LOGGING)
        self.error_log.setLevel(logging.INFO)
        self.error_log.handlers, self.error_log.propagate = [], True

    def access(self, *arguments: Any) -> None:
        """Do nothing: `portal.http.access_log` logs each request."""
