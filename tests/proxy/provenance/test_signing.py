"""Signatures are of the OpenSSF Model Signing format. `tests/field/signed_models.py` runs its real verifier."""

import base64
import hashlib
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from portal import environment
from proxy.models import Manifest, SigningKey
from proxy.provenance import signing
from tests.signing_keys import new_signing_key

FILES = {"a/b": b"x", "a.b": b"z", "c": b"y"}
# What `model_signing sign key` 1.1.1 signs for a folder with these files: its resources in its order, and its digest.
RESOURCES = [
    ("a/b", "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"),
    ("a.b", "594e519ae499312b29433b7dd8a97ff068defcba9755b6d5d00e84c524d67b06"),
    ("c", "a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa"),
]
WHOLE = "32373b4889a8421cb1b43f4847aec8fdb0635f76779a847b77e5ce7b09b5b528"


def manifest(**digests: str) -> Manifest:
    digests = digests or {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}
    files = [{"path": path, "size": 1, "sha256": digest, "state": "seen"} for path, digest in digests.items()]
    return Manifest(environment="live", object_name="vision", version="3", extent="listed", files=files)


@pytest.fixture
def pem(settings) -> str:
    settings.SIGNING_KEY = new_signing_key()
    return settings.SIGNING_KEY


def test_the_statement_is_what_model_signing_itself_signs():
    statement = signing.make_statement(manifest())

    assert statement["subject"] == [{"name": "vision/3", "digest": {"sha256": WHOLE}}]
    predicate = statement["predicate"]
    assert [(each["name"], each["digest"]) for each in predicate["resources"]] == RESOURCES
    assert {each["algorithm"] for each in predicate["resources"]} == {"sha256"}
    assert predicate["serialization"] == {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
        "ignore_paths": ["model.sig", "registered_model_meta"],
    }
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda it: it.name)
def test_the_bundle_is_a_valid_signature_of_the_statement(curve):
    key = signing.private_key(new_signing_key(curve))

    bundle = json.loads(signing.make_bundle(manifest(), key))

    envelope, pem = bundle["dsseEnvelope"], signing.public_pem(key)
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    algorithm = ec.ECDSA({256: hashes.SHA256, 384: hashes.SHA384, 521: hashes.SHA512}[curve.key_size]())
    key.public_key().verify(signature, signed, algorithm)
    with pytest.raises(InvalidSignature):
        key.public_key().verify(signature, signed.replace(b"vision", b"voison"), algorithm)
    assert bundle["verificationMaterial"]["publicKey"]["hint"] == hashlib.sha256(pem.encode()).hexdigest()
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"


def test_what_has_a_file_without_digest_is_not_signed(pem, db):
    assert signing.sign(manifest(a="ab" * 32)) != ""
    assert signing.sign(manifest(a="ab" * 32, b="")) == ""


def test_old_public_keys_stay_published_after_a_rotation(pem, db, settings, client):
    signing.sign(manifest())
    old = client.get("/.well-known/model-signing.json").json()["keys"]
    settings.SIGNING_KEY = new_signing_key()

    keys = client.get("/.well-known/model-signing.json").json()["keys"]

    assert [key["is_current"] for key in keys] == [True, False]
    assert keys[1]["key_id"] == old[0]["key_id"] == SigningKey.objects.get().key_id
    for address in ("model-signing-key.pem", "model-signing.pem"):
        assert client.get(f"/.well-known/{address}").content.decode() == keys[0]["public_key"]
    of_old = client.get(f"/.well-known/model-signing-key.pem?key_id={old[0]['key_id']}")
    assert of_old.content.decode() == old[0]["public_key"]
    assert b"PRIVATE" not in client.get("/.well-known/model-signing.json").content


@pytest.mark.parametrize(
    "value", ["nonsense", new_signing_key(ec.SECP256K1())], ids=["nonsense", "another curve"]
)
def test_a_signing_key_of_another_kind_stops_the_start(value, monkeypatch, tmp_path):
    monkeypatch.setenv("SIGNING_KEY", value)

    with pytest.raises(SystemExit, match=r"SIGNING_KEY: it is not an"):
        environment.signing_key("SIGNING_KEY", tmp_path / "none.pem")


def test_a_signing_key_may_have_its_lines_in_one(monkeypatch, tmp_path):
    pem = new_signing_key()
    monkeypatch.setenv("SIGNING_KEY", pem.strip().replace("\n", "\\n"))

    assert environment.signing_key("SIGNING_KEY", tmp_path / "none.pem").strip() == pem.strip()
