"""Steps on the artifacts of runs."""

import hashlib
import os
import tempfile

import mlflow
from frame import CLIENT, error_of, request, step


def paths(s, run, path=None):
    return sorted(file.path for file in s.client.list_artifacts(run, path))


def fetched(s, run, path):
    with open(s.client.download_artifacts(run, path, tempfile.mkdtemp(dir=s.folder)), "rb") as file:
        return file.read()


@step()
def text_and_dict(s):
    run = s.run()
    s.client.log_text(run, "grüße ✓", "notes/text.txt")
    s.client.log_dict(run, {"a": [1, 2]}, "notes/data.json")
    s.client.log_dict(run, {"a": 1}, "notes/data.yaml")
    root = s.client.get_run(run).info.artifact_uri
    return [
        mlflow.artifacts.load_text(f"runs:/{run}/notes/text.txt"),
        mlflow.artifacts.load_dict(root + "/notes/data.json"),
        paths(s, run),
        paths(s, run, "notes"),
    ]


@step()
def file_of_eight_megabytes(s):
    run, content = s.run(), bytes(range(256)) * 32768
    s.client.log_artifact(run, s.file("blob.bin", content), "data")
    got = fetched(s, run, "data/blob.bin")
    sizes = [file.file_size for file in s.client.list_artifacts(run, "data")]
    return [hashlib.sha256(got).hexdigest() == hashlib.sha256(content).hexdigest(), sizes]


@step()
def empty_file(s):
    run = s.run()
    s.client.log_artifact(run, s.file("empty.txt", b""))
    return [fetched(s, run, "empty.txt").decode(), paths(s, run)]


@step()
def file_is_overwritten(s):
    run = s.run()
    s.client.log_text(run, "first, and longer", "note.txt")
    s.client.log_text(run, "second", "note.txt")
    return fetched(s, run, "note.txt").decode()


@step()
def folder_with_folders(s):
    run, folder = s.run(), tempfile.mkdtemp(dir=s.folder)
    for path in ("a.txt", "sub/b.txt", "sub/deeper/c.txt"):
        os.makedirs(os.path.dirname(os.path.join(folder, path)), exist_ok=True)
        with open(os.path.join(folder, path), "w") as file:
            file.write(path)
    s.client.log_artifacts(run, folder, "tree")
    into = s.client.download_artifacts(run, "tree", tempfile.mkdtemp(dir=s.folder))
    found = sorted(
        os.path.relpath(os.path.join(base, name), into) for base, _, names in os.walk(into) for name in names
    )
    return [found, paths(s, run, "tree"), paths(s, run, "tree/sub"), paths(s, run, "tree/a.txt")]


@step()
def everything_of_a_run_is_downloaded(s):
    run = s.run()
    s.client.log_text(run, "1", "one.txt")
    s.client.log_text(run, "2", "sub/two.txt")
    found = []
    for wanted in ("", "."):
        into = s.client.download_artifacts(run, wanted, tempfile.mkdtemp(dir=s.folder))
        found.append(
            sorted(
                os.path.relpath(os.path.join(base, name), into)
                for base, _, names in os.walk(into)
                for name in names
            )
        )
    return found


@step()
def artifacts_are_listed_by_dots(s):
    run = s.run()
    s.client.log_text(run, "2", "sub/two.txt")
    return [paths(s, run, each) for each in (".", "./sub", "sub/")]


@step()
def names_that_people_choose(s):
    run, names = (
        s.run(),
        ["with space.txt", "größe ✓.txt", "a;b.txt", "a+b=c@d.txt", "(1) [x] {y}.txt", "a,b&c'd.txt"],
    )
    for name in names:
        s.client.log_artifact(run, s.file(name, name.encode()), "names")
    return [paths(s, run, "names"), [fetched(s, run, "names/" + name).decode() for name in names]]


@step()
def image_as_a_file(s):
    import numpy

    run = s.run()
    s.client.log_image(run, numpy.zeros((8, 8, 3), dtype=numpy.uint8), "plots/image.png")
    return [paths(s, run, "plots"), mlflow.artifacts.load_image(f"runs:/{run}/plots/image.png").size]


@step(since="2.11")
def image_at_a_step(s):
    import numpy

    with mlflow.start_run() as run:
        mlflow.log_image(
            numpy.zeros((8, 8, 3), dtype=numpy.uint8), key="sample", step=3, timestamp=1700000000000
        )
        mlflow.log_image(numpy.zeros((8, 8, 3), dtype=numpy.uint8), key="train/sample", step=4)
        if hasattr(mlflow, "flush_artifact_async_logging"):
            mlflow.flush_artifact_async_logging()
    return len(paths(s, run.info.run_id, "images"))


@step()
def figure(s):
    from matplotlib.figure import Figure

    run, plot = s.run(), Figure()
    plot.subplots().plot([1, 2, 3])
    s.client.log_figure(run, plot, "plots/figure.png")
    return [paths(s, run, "plots"), fetched(s, run, "plots/figure.png")[1:4].decode()]


@step()
def table(s):
    run = s.run()
    s.client.log_table(run, {"input": ["a", "b"], "score": [0.5, 1.0]}, "eval/table.json")
    s.client.log_table(run, {"input": ["c"], "score": [0.0]}, "eval/table.json")
    return s.client.load_table(s.experiment_id, "eval/table.json", run_ids=[run]).to_dict("list")


@step(since="3.5")
def stream(s):
    import io

    run = s.run()
    if not hasattr(s.client, "log_stream"):
        from frame import NotInThisRelease

        raise NotInThisRelease("log_stream")
    s.client.log_stream(run, io.BytesIO(b"streamed"), "stream.txt")
    return fetched(s, run, "stream.txt").decode()


@step()
def file_that_does_not_exist(s):
    run = s.run()
    response = request(
        "GET", f"/api/2.0/mlflow-artifacts/artifacts/{s.experiment_id}/{run}/artifacts/none.txt"
    )
    try:
        s.client.download_artifacts(run, "none.txt", tempfile.mkdtemp(dir=s.folder))
    except Exception:
        return response.status_code
    raise AssertionError("the download passed")


@step()
def part_of_a_file(s):
    run = s.run()
    s.client.log_text(run, "0123456789", "digits.txt")
    path = f"/api/2.0/mlflow-artifacts/artifacts/{s.experiment_id}/{run}/artifacts/digits.txt"
    response = request("GET", path, extra_headers={"Range": "bytes=2-5"})
    return [response.status_code, response.text]


@step()
def upload_in_parts_falls_back(s):
    """MLflow's local store has no upload in parts; the client then sends the file as one."""
    os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"] = "true"
    os.environ["MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"] = "1000000"
    os.environ["MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE"] = "6000000"
    os.environ["MLFLOW_MULTIPART_DOWNLOAD_MINIMUM_FILE_SIZE"] = "1000000"
    try:
        run = s.run()
        s.client.log_artifact(run, s.file("parts.bin", b"x" * 12000000))
        return len(fetched(s, run, "parts.bin"))
    finally:
        for name in [each for each in os.environ if "MULTIPART" in each]:
            del os.environ[name]


@step()
def artifacts_are_deleted(s):
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    run = s.run()
    s.client.log_text(run, "1", "keep/one.txt")
    s.client.log_text(run, "2", "drop/two.txt")
    get_artifact_repository(s.client.get_run(run).info.artifact_uri).delete_artifacts("drop")
    return paths(s, run)


@step()
def artifact_of_a_run_that_does_not_exist(s):
    return error_of(s.client.list_artifacts, "0" * 32)


@step()
def artifacts_of_a_run_are_found_by_its_address(s):
    run = s.run()
    s.client.log_text(run, "1", "a/one.txt")
    uri = s.client.get_run(run).info.artifact_uri
    into = mlflow.artifacts.download_artifacts(
        artifact_uri=uri + "/a", dst_path=tempfile.mkdtemp(dir=s.folder)
    )
    listed = [file.path for file in mlflow.artifacts.list_artifacts(artifact_uri=uri)]
    return [os.listdir(into), listed, uri.split(":")[0], CLIENT >= (2, 9)]
