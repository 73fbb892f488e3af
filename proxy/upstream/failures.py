"""The one map from urllib3's and the socket's errors to refusals."""

import logging

from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from keys.refusals import Refusal, not_sent

logger = logging.getLogger(__name__)


def refusal(error: Exception) -> Refusal:
    """The refusal for an error on the way to MLflow. Internal addresses stay in the log."""
    logger.warning("upstream_failed", exc_info=error, extra={"error": type(error).__name__})
    if isinstance(error, NewConnectionError):
        return not_sent(
            "upstream_unreachable",
            "MLflow cannot be reached, and your call was not sent there. Try again in a few seconds.",
        )
    if isinstance(error, ReadTimeoutError | TimeoutError):
        return Refusal(
            status=504,
            error_code="DEADLINE_EXCEEDED",
            reason="upstream_timeout",
            message="MLflow did not respond in time. It may or may not have carried out the call; check before "
            "you try again.",
        )
    return broken()


def broken() -> Refusal:
    return bad_gateway(
        "upstream_broken",
        "MLflow broke the connection or sent an invalid response. It may or may not have carried out the call; "
        "check before you try again.",
    )


def bad_gateway(reason: str, message: str) -> Refusal:
    return Refusal(status=502, error_code="TEMPORARILY_UNAVAILABLE", reason=reason, message=message)
