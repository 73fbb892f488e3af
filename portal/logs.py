"""What may not stand in a log, whoever wrote it there."""

import logging

from keys.tokens import hide


class WithoutKeys(logging.Filter):
    """Hides what looks like an API key in every line: Django logs paths, and people paste keys into them.

    Changes the record itself, so that whatever formats it later has no key either.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = hide(record.getMessage()), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = hide(record.exc_text)
        return True
