"""Where a version's files are: from its source to a folder below MLflow's artifact root, and MLflow's list of it."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from proxy.upstream.registry import API, Registry, RegistryError, resolve
from proxy.upstream.workspaces import store_path

LISTING = "/api/2.0/mlflow-artifacts/artifacts"
OWN_STORE = "mlflow-artifacts"
MOST_FOLDERS = 5000  # of one version
MOST_FILES = 100_000


def find_root(registry: Registry, name: str, version: str, source: str) -> str:
    """The folder of a version's files, "" if they are not in MLflow's own store. Raises RegistryError."""
    content = registry.get(f"{API}/model-versions/get-download-uri", [("name", name), ("version", version)])
    location = str((content or {}).get("artifact_uri") or source)
    folder = folder_of(resolve(registry, location))
    return folder and store_path(folder, registry.workspace)


def folder_of(address: str) -> str:
    """The path of an address in MLflow's own store; "" for any other address."""
    parts = urlsplit(address)
    return parts.path.strip("/") if parts.scheme == OWN_STORE else ""


def list_files(registry: Registry, root: str) -> dict[str, int] | None:
    """The size in bytes of each file below the folder, by its path in it; None if MLflow lists none of it.

    Raises RegistryError, also for a tree that is too large.
    """
    files: dict[str, int] = {}
    folders, count = [""], 0
    while folders:
        folder, count = folders.pop(), count + 1
        entries = list_folder(registry, f"{root}/{folder}".rstrip("/"))
        if entries is None:
            return None
        for name, is_folder, size in entries:
            path = f"{folder}/{name}".lstrip("/")
            if is_folder:
                folders.append(path)
            else:
                files[path] = size
        if count > MOST_FOLDERS or len(files) > MOST_FILES:
            raise RegistryError(f"The version has more than {MOST_FILES} files or {MOST_FOLDERS} folders.")
    return files


def list_folder(registry: Registry, path: str) -> list[tuple[str, bool, int]] | None:
    content = registry.get(LISTING, [("path", path)])
    return None if content is None else list(entries_of(content.get("files", [])))


def entries_of(files: object) -> Iterator[tuple[str, bool, int]]:
    for file in files if isinstance(files, list) else []:
        if isinstance(file, dict) and (name := str(file.get("path", "")).rstrip("/").rpartition("/")[2]):
            yield name, bool(file.get("is_dir")), int(file.get("file_size") or 0)
