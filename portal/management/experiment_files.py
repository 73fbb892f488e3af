"""Moves the folders of experiments in MLflow's artifact store, on disk or in S3, so that each step can be repeated.

`place` makes the new folder whole; `remove` deletes what is left of the former one, after it has compared both. A new
folder on disk appears at once, by a rename; in S3, each object is copied and compared.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

CHUNK = 2**20  # bytes


class FilesError(Exception):
    """A folder could not be moved. The message is for the operator."""


class Files(Protocol):
    """An artifact store. Folders and files are paths below its root."""

    def place(self, source: str, target: str) -> None:
        """Make the folder `target` whole. Raises FilesError if it has other files than the folder `source`."""

    def remove(self, source: str, target: str) -> None:
        """Delete the folder `source` if `target` has all of it. Raises FilesError otherwise."""

    def digests(self, folder: str) -> Iterator[tuple[str, str]]:
        """The path of each file below the folder, relative to it, with its SHA-256."""


def differ(source: str, target: str, path: str) -> FilesError:
    return FilesError(
        f"{source} and {target} have different files “{path}”. Decide which one to keep, and delete the other."
    )


def sha256_of(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


class DiskFiles:
    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, source: str, target: str) -> None:
        former, new = self.root / source, self.root / target
        if not former.exists():
            return
        if new.exists():  # a copy across file systems, whose deletion was interrupted
            self.compare(source, target)
            return
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            former.rename(new)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self.copy(former, new)

    def copy(self, former: Path, new: Path) -> None:
        """To another file system: under another name until it is whole and compared."""
        part = new.with_name(f".{new.name}.part")
        if part.exists():
            shutil.rmtree(part)
        shutil.copytree(former, part, symlinks=True)
        self.compare(str(former.relative_to(self.root)), str(part.relative_to(self.root)))
        part.rename(new)

    def remove(self, source: str, target: str) -> None:
        if (self.root / source).exists():
            self.compare(source, target)
            shutil.rmtree(self.root / source)

    def compare(self, source: str, target: str) -> None:
        """Raises FilesError unless the target has every file of the source, with the same bytes."""
        for path in self.paths(source):
            new = self.root / target / path
            if not new.is_file() or self.sha256(self.root / source / path) != self.sha256(new):
                raise differ(source, target, path)

    def digests(self, folder: str) -> Iterator[tuple[str, str]]:
        for path in self.paths(folder):
            yield path, self.sha256(self.root / folder / path)

    def paths(self, folder: str) -> Iterator[str]:
        root = self.root / folder
        for parent, _, names in sorted(os.walk(root)):
            for name in sorted(names):
                yield (Path(parent) / name).relative_to(root).as_posix()

    def sha256(self, path: Path) -> str:
        with path.open("rb") as file:
            return sha256_of(iter(lambda: file.read(CHUNK), b""))


class S3Files:
    """A bucket. `client`: boto3's, which has its address and credentials from the environment."""

    def __init__(self, url: str, client: Any) -> None:
        self.bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.client = client

    def place(self, source: str, target: str) -> None:
        for path, former in self.objects(source).items():
            origin = {"Bucket": self.bucket, "Key": former["Key"]}
            if not self.has(target, path, former):
                self.client.copy(origin, self.bucket, self.key(target, path))
                if not self.has(target, path, former):
                    raise differ(source, target, path)

    def remove(self, source: str, target: str) -> None:
        objects = self.objects(source)
        for path, former in objects.items():
            if not self.has(target, path, former):
                raise differ(source, target, path)
        for former in objects.values():
            self.client.delete_object(Bucket=self.bucket, Key=former["Key"])

    def digests(self, folder: str) -> Iterator[tuple[str, str]]:
        for path, found in self.objects(folder).items():
            yield path, self.sha256(found["Key"])

    def objects(self, folder: str) -> dict[str, Any]:
        """By path below the folder."""
        start = self.key(folder, "")
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
        return {
            found["Key"].removeprefix(start): found for page in pages for found in page.get("Contents", [])
        }

    def has(self, folder: str, path: str, former: Any) -> bool:
        """Whether the folder has the same object. An ETag is the MD5 of the bytes, unless it was uploaded in parts."""
        new = self.objects_at(self.key(folder, path))
        if new is None or new["Size"] != former["Size"]:
            return False
        tags = {str(new["ETag"]), str(former["ETag"])}
        if len(tags) == 1 and "-" not in former["ETag"]:
            return True
        return self.sha256(new["Key"]) == self.sha256(former["Key"])

    def objects_at(self, key: str) -> Any:
        """The object with exactly this key; None if there is none."""
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=key, MaxKeys=1).get("Contents", [])
        return found[0] if found and found[0]["Key"] == key else None

    def key(self, folder: str, path: str) -> str:
        return f"{self.prefix}{folder}/{path}"

    def sha256(self, key: str) -> str:
        body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"]
        return sha256_of(body.iter_chunks(CHUNK))


def open_files(store: str) -> Files:
    """The store at a folder or an address s3://BUCKET/PREFIX. Raises FilesError."""
    if not store.startswith("s3://"):
        folder = Path(store)
        if not folder.is_dir():
            raise FilesError(f"there is no folder {folder}")
        return DiskFiles(folder)
    try:
        import boto3
    except ImportError:
        raise FilesError(
            "install boto3 beside the portal (pip install boto3) to move objects in S3"
        ) from None
    return S3Files(store, boto3.client("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL")))
