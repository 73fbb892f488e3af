"""Forwarding against an upstream that echoes what it gets, through the portal as it is run."""

GET_EXPERIMENT = "/api/mlflow/api/2.0/mlflow/experiments/get?experiment_id=0"


def test_a_call_with_a_key_is_forwarded_and_recorded(echo, echo_portal, echo_key):
    reply = echo_portal.request("GET", GET_EXPERIMENT, key=echo_key["key"])

    assert reply.status == 200
    assert echo.last.target == "/api/2.0/mlflow/experiments/get?experiment_id=0"
    [call] = echo_portal.calls(request_id=reply.headers["X-Request-ID"])
    assert (call["operation"], call["status"]) == ("experiments.get", 200)
