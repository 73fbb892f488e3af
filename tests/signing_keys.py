"""Keys for the setting SIGNING_KEY."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


def new_signing_key(curve: ec.EllipticCurve | None = None) -> str:
    """A private key, of P-256 by default, as PEM in the form of `openssl ecparam -genkey -noout` (docs/settings.md)."""
    form, encryption = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    key = ec.generate_private_key(curve or ec.SECP256R1())
    return key.private_bytes(serialization.Encoding.PEM, form, encryption).decode()
