"""The digest of a body is that of its bytes, however they come."""

import hashlib
import io

import pytest

from proxy.provenance.digests import BLOCK, HashedBody


class Body(io.BytesIO):
    length: int | None = None


@pytest.mark.parametrize("size", [0, 1, 5000, BLOCK - 1, BLOCK, 3 * BLOCK + 7])
@pytest.mark.parametrize("piece", [64 * 1024, 2 * BLOCK])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_is_hashed_as_it_is_read(size, piece, is_chunked):
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    source = Body(content)
    source.length = None if is_chunked else size
    body = HashedBody(source)

    read = b""
    while part := body.read(piece):
        assert body.is_complete == (not is_chunked and len(read) + len(part) == size)
        read += part

    assert read == content
    assert body.is_complete
    assert (body.count, body.hasher.hexdigest()) == (size, hashlib.sha256(content).hexdigest())
    assert body.hasher.hexdigest() == hashlib.sha256(content).hexdigest()
