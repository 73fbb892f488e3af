"""Signatures of manifests in the OpenSSF Model Signing format (v1.0): an in-toto statement in a DSSE envelope, in a
Sigstore bundle, which `model_signing verify key` verifies for a downloaded folder.

The portal writes the format itself, with `cryptography`, which it needs anyway. The package `model-signing` would bring
some 35 others (sigstore, tuf, pydantic …), none of which a signature with a key needs.
`tests/proxy/provenance/test_signing.py` checks the format; `make signed-models` runs the real
verifier.
"""

import base64
import hashlib
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings

from proxy.models.manifests import Manifest, SigningKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
HASHES = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}
# What MLflow's client adds to a version that it downloads (mlflow/store/artifact/models_artifact_repo.py), and where
# people keep the signature.
IGNORED = ["model.sig", "registered_model_meta"]


@cache
def private_key(pem: str) -> ec.EllipticCurvePrivateKey:
    """Raises ValueError if it is not a key for ECDSA with a curve of the format."""
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in HASHES:
        raise ValueError("not an elliptic-curve key of P-256, P-384 or P-521")
    return key


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def key_id_of(pem: str) -> str:
    """The identifier of a public key in the bundle."""
    return hashlib.sha256(pem.encode()).hexdigest()


def current_key() -> ec.EllipticCurvePrivateKey | None:
    return private_key(settings.SIGNING_KEY) if settings.SIGNING_KEY else None


def make_statement(manifest: Manifest) -> dict[str, Any]:
    """The in-toto statement: every file with its digest, and one digest over all of them."""
    signed = [(file["path"], file["sha256"]) for file in manifest.files if file["path"] not in IGNORED]
    files = sorted(signed, key=lambda file: file[0].split("/"))
    whole = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in files)).hexdigest()
    name = f"{manifest.object_name}/{manifest.version}"
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": whole}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": IGNORED,
            },
            "resources": [{"name": path, "algorithm": "sha256", "digest": digest} for path, digest in files],
        },
    }


def pre_authentication_encoding(payload: bytes) -> bytes:
    """What DSSE signs (its protocol v1.0.2)."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def make_bundle(manifest: Manifest, key: ec.EllipticCurvePrivateKey) -> str:
    payload = json.dumps(make_statement(manifest), indent=1).encode()
    signature = key.sign(pre_authentication_encoding(payload), ec.ECDSA(HASHES[key.curve.name]))
    bundle = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": key_id_of(public_pem(key))},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle)


def sign(manifest: Manifest) -> str:
    """The bundle, and its public key is kept; "" if a file has no digest or no key is set."""
    key = current_key()
    if key is None or not manifest.is_complete:
        return ""
    keep_public_key(key)
    return make_bundle(manifest, key)


def keep_public_key(key: ec.EllipticCurvePrivateKey) -> None:
    pem = public_pem(key)
    SigningKey.objects.get_or_create(key_id=key_id_of(pem), defaults={"public_pem": pem})


def public_keys() -> list[dict[str, Any]]:
    """The public keys for publication, newest first; the current one is first."""
    key = current_key()
    current = public_pem(key) if key else ""
    kept = [(row.public_pem, row.at) for row in SigningKey.objects.all() if row.public_pem != current]
    listed = [(current, None)] if current else []
    return [
        {"key_id": key_id_of(pem), "is_current": pem == current, "public_key": pem}
        for pem, _ in [*listed, *kept]
    ]
