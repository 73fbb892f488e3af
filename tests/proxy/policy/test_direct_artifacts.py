"""Transfers directly between clients and MLflow's store: closed unless wanted, and marked in the log if wanted."""

import json

import pytest

from keys.refusals import Refusal
from proxy.policy import dangerous_input, direct_artifacts
from proxy.routes import matching
from proxy.upstream import stored_files
from proxy.upstream.workspaces import Workspace
from tests.echo import Script

SHARED = Workspace("shared")

RUN = "a" * 32
FOLDER = f"1/{RUN}/artifacts"
# From MLflow 3.18.0 with an S3 store.
SERVER_INFO = {
    "store_type": "SqlStore",
    "workspaces_enabled": False,
    "trace_archival_enabled": False,
    "multipart_uploads_enabled": True,
    "multipart_downloads_enabled": True,
    "artifact_serving_enabled": True,
    "skill_content_max_size": 26214400,
    "skill_content_max_files": 10000,
    "presigned_upload_run_id_supported": True,
    "presigned_upload_model_id_supported": True,
    "model_artifact_presigned_downloads_supported": True,
    "features_enabled": {"gateway": True, "scheduled_issue_detection": True},
    "tracking_auth": "",
    "artifacts_presigned_only": True,
}
# With the words with which MLflow's clients up to 3.17 fall back; those of 3.18 look at the status.
CALLS = [
    ("POST", f"/api/2.0/mlflow-artifacts/mpu/create/{FOLDER}", "", "Multipart upload is not supported"),
    ("POST", f"/api/2.0/mlflow-artifacts/mpu/complete/{FOLDER}", "", "Multipart upload is not supported"),
    ("POST", f"/api/2.0/mlflow-artifacts/mpu/abort/{FOLDER}", "", "Multipart upload is not supported"),
    ("GET", f"/api/2.0/mlflow-artifacts/presigned/{FOLDER}/x", "", "Presigned download is not supported"),
    ("POST", "/api/2.0/mlflow/artifacts/presigned-download-url", "", "Presigned download is not supported"),
    ("GET", "/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files", "presigned=true", "Presigned download"),
    ("GET", "/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files", "a=b&%70resigned=true", ""),
    ("GET", f"/api/2.0/mlflow-artifacts/artifacts/{FOLDER}/x", "presigned=1", "Presigned download"),
]


@pytest.mark.parametrize(("method", "path", "query", "words"), CALLS)
def test_a_direct_transfer_is_refused_so_that_each_client_falls_back(method, path, query, words, settings):
    settings.DIRECT_ARTIFACTS = False
    match = matching.match_operation(method, path)

    with pytest.raises(Refusal) as refused:
        dangerous_input.check(match, {"path": "x"}, query)

    assert (refused.value.status, refused.value.error_code) == (501, "NOT_IMPLEMENTED")
    assert refused.value.message.startswith(words)

    settings.DIRECT_ARTIFACTS = True
    dangerous_input.check(match, {"path": "x"}, query)


@pytest.mark.parametrize("path", ["/home/a/x", "..", "C:\\a\\x%2e", "a%20b"])
def test_the_name_of_a_multipart_upload_is_the_last_part_of_the_clients_path(path, settings):
    settings.DIRECT_ARTIFACTS = True
    match = matching.match_operation("POST", f"/api/2.0/mlflow-artifacts/mpu/create/{FOLDER}")
    if path == "/home/a/x":
        dangerous_input.check(match, {"path": path}, "")
        return
    with pytest.raises(Refusal, match=r"artifact path|store this file"):
        dangerous_input.check(match, {"path": path}, "")


def test_server_info_announces_no_direct_transfer_and_nothing_unknown():
    content = json.dumps({**SERVER_INFO, "new_direct_transfers": True}).encode()
    off = json.loads(direct_artifacts.filter_flags(content, direct_artifacts=False))
    on = json.loads(direct_artifacts.filter_flags(content, direct_artifacts=True))

    assert {name for name, value in off.items() if value is True} == {"artifact_serving_enabled"}
    assert set(off) == set(on) == set(SERVER_INFO) - {"tracking_auth"}
    assert set(off["features_enabled"].values()) == {False}
    assert on["multipart_uploads_enabled"] is on["artifacts_presigned_only"] is True


@pytest.mark.postgresql
class TestFilesOfTheStore:
    def test_a_missing_file_is_a_404_with_every_store(self, echo, echo_portal, echo_key):
        """With S3, MLflow responds with 500, which its client tries again for minutes."""
        target = f"/api/2.0/mlflow-artifacts/artifacts/{FOLDER}/optional.txt"
        echo.script = Script(status=500, body=b'{"error_code": "INTERNAL_ERROR"}', only="optional.txt")
        reply = echo_portal.request("GET", f"/api/mlflow{target}", key=echo_key["key"])

        assert (reply.status, reply.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
        assert echo.last.target == f"/api/2.0/mlflow-artifacts/artifacts?path={FOLDER.replace('/', '%2F')}"

    def test_the_listing_of_the_folder_decides(self, echo, settings):
        files = [{"path": "a b.txt", "file_size": "12"}, {"path": "sub", "is_dir": True}]
        echo.script = Script(body=json.dumps({"files": files}).encode())

        assert stored_files.size_of(echo.url, SHARED, f"{FOLDER}/a b.txt") == 12
        assert not stored_files.is_missing(echo.url, SHARED, f"{FOLDER}/a b.txt")
        assert stored_files.is_missing(echo.url, SHARED, f"{FOLDER}/c.txt")
        echo.script = Script(status=500, body=b"no")
        assert not stored_files.is_missing(echo.url, SHARED, f"{FOLDER}/c.txt")
