"""The forms in which clients send a key."""

import base64

from keys.credentials import tokens

GET_EXPERIMENT = "/api/mlflow/api/2.0/mlflow/experiments/get?experiment_id=0"
UNKNOWN = tokens.generate().secret
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJnYXRld2F5In0.c2lnbmF0dXJl"


def basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


# Each form of the contract, and what clients make of it.
FORMS = {
    "bearer": lambda key: {"HTTP_AUTHORIZATION": f"Bearer {key}"},
    "bearer in lower case": lambda key: {"HTTP_AUTHORIZATION": f"bearer {key}"},
    "bearer with blanks": lambda key: {"HTTP_AUTHORIZATION": f" BEARER   {key} "},
    "apikey": lambda key: {"HTTP_AUTHORIZATION": f"ApiKey {key}"},
    "basic": lambda key: {"HTTP_AUTHORIZATION": f"Basic {basic('token', key)}"},
    "basic without a user": lambda key: {"HTTP_AUTHORIZATION": f"basic {basic('', key)}"},
    "basic with any user": lambda key: {"HTTP_AUTHORIZATION": f"BASIC {basic('ada@example.org', key)}"},
    "header": lambda key: {"HTTP_X_API_KEY": key},
    "the same twice": lambda key: {"HTTP_AUTHORIZATION": f"Bearer {key}", "HTTP_X_API_KEY": key},
    # A front gateway's own credential beside it.
    "beside a token": lambda key: {"HTTP_AUTHORIZATION": f"Bearer {JWT}", "HTTP_X_API_KEY": key},
    "beside a password": lambda key: {
        "HTTP_AUTHORIZATION": f"Basic {basic('u', 'pw')}",
        "HTTP_X_API_KEY": key,
    },
    "beside nonsense": lambda key: {"HTTP_AUTHORIZATION": "Basic ***", "HTTP_X_API_KEY": key},
    "beside a signature": lambda key: {
        "HTTP_AUTHORIZATION": "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c",
        "HTTP_X_API_KEY": key,
    },
    "beside a gateway's own key": lambda key: {"HTTP_AUTHORIZATION": f"Bearer {key}", "HTTP_X_API_KEY": JWT},
    "after a token": lambda key: {"HTTP_AUTHORIZATION": f"Bearer {JWT},Bearer {key}"},
}
