"""What Kustomize makes of deploy/kubernetes, against the schemas of Kubernetes, our own of KEDA, and our own rules."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import yaml  # type: ignore[import-untyped]

from tests.deploy.programs import Wrong, run

FOLDER = Path("deploy/kubernetes")
RENDERED = ("base", "overlays/example")
_GIVING_BACK_SECONDS = 10


def kubernetes(tree: Path) -> str:
    """Whether every manifest is one."""
    count = 0
    for name in RENDERED:
        text, warnings = run(["kubectl", "kustomize", FOLDER / name], cwd=tree)
        if warnings.strip():
            raise Wrong(f"{name}: {warnings.strip()}")
        with tempfile.TemporaryDirectory(prefix="tickets-manifests-") as folder:
            path = Path(folder) / "all.yaml"
            path.write_text(text)
            # Of a kind that it does not know it only warns.
            run(["kubernetes-validate", "--strict", "--quiet", "--no-warn", path], cwd=tree)
        documents = list(yaml.safe_load_all(text))
        count += len(documents)
        if faults := [f"{name}: {fault}" for fault in (*_scaling(documents, tree), *_pods(documents))]:
            raise Wrong("\n".join(faults))
    return f"{count} objects, rendered and held against their schemas"


def _scaling(documents: list[dict[str, Any]], tree: Path) -> Iterator[str]:
    schema = json.loads((tree / FOLDER / "schemas/keda.json").read_text())
    there = {(document["kind"], document["metadata"]["name"]) for document in documents}
    for document in documents:
        if not document["apiVersion"].startswith("keda.sh/"):
            continue
        kind = {"$ref": f"#/$defs/{document['kind']}", "$defs": schema["$defs"]}
        for error in jsonschema.Draft202012Validator(kind).iter_errors(document):
            yield f"{document['metadata']['name']}: {error.json_path}: {error.message}"
        target = document["spec"].get("scaleTargetRef", {}).get("name")
        if target is not None and ("Deployment", target) not in there:
            yield f"{document['metadata']['name']} scales {target}, which is not there"


def _pods(documents: list[dict[str, Any]]) -> Iterator[str]:
    """What the schemas allow and we do not: rights, a writable disk, no limit, an image without a version."""
    for document in documents:
        if document["kind"] not in {"Deployment", "Job"}:
            continue
        name, pod = document["metadata"]["name"], document["spec"]["template"]["spec"]
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{name} gets a token for the API server"
        if pod.get("terminationGracePeriodSeconds", 30) <= _stop_seconds(documents) + _GIVING_BACK_SECONDS:
            yield f"{name} is killed before it gave its messages back"
        if pod.get("securityContext", {}).get("runAsNonRoot") is not True:
            yield f"{name} may run as root"
        for container in pod["containers"]:
            rights = container.get("securityContext", {})
            if not rights.get("readOnlyRootFilesystem") or rights.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{name} may write to its root, or keeps capabilities"
            if "memory" not in container.get("resources", {}).get("limits", {}):
                yield f"{name} may take all memory"
            if ":" not in container["image"].rpartition("/")[2] or container["image"].endswith(":latest"):
                yield f"{name}: {container['image']} names no version"


def _stop_seconds(documents: list[dict[str, Any]]) -> float:
    settings = next(one["data"] for one in documents if one["kind"] == "ConfigMap")
    return float(settings.get("TICKETS_STOP_SECONDS", 20))
