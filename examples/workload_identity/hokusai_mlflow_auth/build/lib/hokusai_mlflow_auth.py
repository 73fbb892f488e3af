"""Lets a stock MLflow client send the platform's own signed token, for jobs that outlive one.

    pip install ./hokusai_mlflow_auth
    export MLFLOW_TRACKING_AUTH=hokusai
    unset MLFLOW_TRACKING_TOKEN

The token comes from the first of these that is set:

- HOKUSAI_TOKEN_FILE: a file, such as that of a Kubernetes projected volume, read again for each request;
- ACTIONS_ID_TOKEN_REQUEST_URL: GitHub Actions, which signs a new token when the last one is about to end.
  HOKUSAI_AUDIENCE is the audience of the trust.
"""

import base64
import json
import os
import time

import requests

EARLY = 60  # seconds before a token's end from which on a new one is fetched


class TokenAuth:
    """For `requests`: sets the header of each request."""

    token, ends = "", 0.0

    def __call__(self, request):
        request.headers["Authorization"] = f"Bearer {self.read()}"
        return request

    def read(self) -> str:
        if file := os.environ.get("HOKUSAI_TOKEN_FILE"):
            with open(file) as content:
                return content.read().strip()
        if time.time() > self.ends - EARLY:
            self.token = fetch_from_github()
            claims = self.token.split(".")[1]
            self.ends = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"]
        return self.token


def fetch_from_github() -> str:
    """A new token of the running job. The workflow needs `permissions: id-token: write`."""
    url = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL")
    if not url:
        raise RuntimeError(
            "Set HOKUSAI_TOKEN_FILE, or run in GitHub Actions with `permissions: id-token: write`."
        )
    answer = requests.get(
        url,
        params={"audience": os.environ["HOKUSAI_AUDIENCE"]},
        headers={"Authorization": f"Bearer {os.environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"},
        timeout=30,
    )
    answer.raise_for_status()
    return answer.json()["value"]


class TokenProvider:
    """What MLflow loads for MLFLOW_TRACKING_AUTH=hokusai (its interface RequestAuthProvider)."""

    auth = TokenAuth()  # one for all requests, so that a fetched token is used until it ends

    def get_name(self) -> str:
        return "hokusai"

    def get_auth(self) -> TokenAuth:
        return self.auth
