"""Folders of experiments move on disk and in S3 so that each step can be repeated, and nothing is lost."""

import errno
import hashlib
import shutil
from pathlib import Path

import pytest

from portal.management.experiment_files import DiskFiles, FilesError, S3Files, open_files

FORMER, NEW = "7", "workspaces/lab/7"
CONTENT = {"run/artifacts/model.bin": b"weights", "run/artifacts/deep/er/a.txt": b"", "b": b"b" * 10_000}


class Bucket:
    """What boto3's client does with a bucket, in memory. An upload in parts has another ETag."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.in_parts: set[str] = set()
        self.copies = 0

    def get_paginator(self, name: str) -> "Bucket":
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> list[dict]:  # noqa: N803
        found = [self.describe(key) for key in sorted(self.objects) if key.startswith(Prefix)]
        return [{"Contents": found[:2]}, {"Contents": found[2:]}, {}]

    def list_objects_v2(self, *, Bucket: str, Prefix: str, MaxKeys: int) -> dict:  # noqa: N803
        return {"Contents": self.paginate(Bucket=Bucket, Prefix=Prefix)[0]["Contents"][:MaxKeys]}

    def describe(self, key: str) -> dict:
        tag = hashlib.md5(self.objects[key], usedforsecurity=False).hexdigest()
        tag += "-2" if key in self.in_parts else ""
        return {"Key": key, "Size": len(self.objects[key]), "ETag": f'"{tag}"'}

    def copy(self, origin: dict, bucket: str, key: str) -> None:
        self.copies += 1
        self.objects[key] = self.objects[origin["Key"]]

    def delete_object(self, *, Bucket: str, Key: str) -> None:  # noqa: N803
        del self.objects[Key]

    def get_object(self, *, Bucket: str, Key: str) -> dict:  # noqa: N803
        body = self.objects[Key]

        class Body:
            def iter_chunks(self, size: int) -> list[bytes]:
                return [body[:5], body[5:]]

        return {"Body": Body()}


def write(root: Path, folder: str, content: dict[str, bytes] = CONTENT) -> None:
    for path, text in content.items():
        (root / folder / path).parent.mkdir(parents=True, exist_ok=True)
        (root / folder / path).write_bytes(text)


def digests(content: dict[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha256(text).hexdigest() for path, text in content.items()}


def move(files: DiskFiles | S3Files) -> dict[str, str]:
    files.place(FORMER, NEW)
    files.remove(FORMER, NEW)
    assert dict(files.digests(FORMER)) == {}
    return dict(files.digests(NEW))


@pytest.fixture
def other_file_system(monkeypatch) -> None:
    """A rename out of the former folder fails, as it does between file systems."""
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == FORMER:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)


class TestDisk:
    def test_a_folder_moves_by_a_rename_and_again_does_nothing(self, tmp_path):
        write(tmp_path, FORMER)
        files = DiskFiles(tmp_path)

        assert move(files) == move(files) == digests(CONTENT)

    @pytest.mark.parametrize("step", ["copytree", "rmtree"])
    def test_a_copy_to_another_file_system_continues_where_it_was_stopped(
        self, tmp_path, monkeypatch, other_file_system, step
    ):
        write(tmp_path, FORMER)
        work = getattr(shutil, step)

        def stop(source: Path, *more: object, **options: object) -> None:
            if step == "copytree":  # half of it
                write(more[0], "", dict(list(CONTENT.items())[:1]))
            else:
                next(path for path in Path(source).rglob("*") if path.is_file()).unlink()
            raise KeyboardInterrupt

        monkeypatch.setattr(shutil, step, stop)
        with pytest.raises(KeyboardInterrupt):
            move(DiskFiles(tmp_path))
        assert (tmp_path / NEW).exists() == (step == "rmtree")
        monkeypatch.setattr(shutil, step, work)

        assert move(DiskFiles(tmp_path)) == digests(CONTENT)
        assert not list((tmp_path / "workspaces/lab").glob(".*"))

    def test_two_folders_that_differ_are_kept(self, tmp_path):
        write(tmp_path, FORMER)
        write(tmp_path, NEW, {**CONTENT, "b": b"other"})
        files = DiskFiles(tmp_path)

        for step in (files.place, files.remove):
            with pytest.raises(FilesError, match="different files “b”"):
                step(FORMER, NEW)
        assert dict(files.digests(FORMER)) == digests(CONTENT)

    def test_a_folder_that_is_not_there_is_said(self, tmp_path):
        with pytest.raises(FilesError, match="no folder"):
            open_files(str(tmp_path / "none"))


class TestS3:
    @pytest.fixture
    def bucket(self) -> Bucket:
        bucket = Bucket()
        bucket.objects = {f"mlflow/{FORMER}/{path}": text for path, text in CONTENT.items()}
        bucket.objects["mlflow/70/other"] = b"of another experiment"
        return bucket

    def test_objects_are_copied_and_compared_before_the_former_ones_are_deleted(self, bucket):
        bucket.in_parts = {f"mlflow/{FORMER}/b"}

        assert move(S3Files("s3://store/mlflow/", bucket)) == digests(CONTENT)
        assert bucket.objects.pop("mlflow/70/other")
        assert {key.partition("7/")[0] for key in bucket.objects} == {"mlflow/workspaces/lab/"}

    @pytest.mark.parametrize("stopped_at", range(1, len(CONTENT) + 1))
    def test_an_interrupted_copy_continues(self, bucket, monkeypatch, stopped_at):
        files = S3Files("s3://store/mlflow", bucket)
        copy = bucket.copy

        def stop(*origin: object) -> None:
            copy(*origin)
            if bucket.copies == stopped_at:
                raise KeyboardInterrupt

        monkeypatch.setattr(bucket, "copy", stop)
        with pytest.raises(KeyboardInterrupt):
            files.place(FORMER, NEW)
        monkeypatch.setattr(bucket, "copy", copy)

        assert move(files) == digests(CONTENT)
        assert bucket.copies == len(CONTENT), "what was copied is not copied again"

    def test_an_object_without_its_copy_is_kept(self, bucket):
        with pytest.raises(FilesError, match="different files"):
            S3Files("s3://store/mlflow", bucket).remove(FORMER, NEW)
        assert len(bucket.objects) == len(CONTENT) + 1

    def test_without_boto3_the_command_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "boto3", None)

        with pytest.raises(FilesError, match="pip install boto3"):
            open_files("s3://store")
