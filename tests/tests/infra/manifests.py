"""Checks the manifests in a folder against the schemas of their kinds.

    manifests.py FOLDER     prints {"faults": [...], "objects": [...]}, each object with the name of its file in "file"
"""

import json
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

# A version that managed clusters offer; the schemas come with kubernetes-validate.
KUBERNETES = "1.34"
KEDA = json.loads(Path(__file__).with_name("keda.schema.json").read_text())
# Read by kubectl itself, never sent to a cluster.
KUSTOMIZATION = {
    "type": "object",
    "properties": {
        "apiVersion": {"const": "kustomize.config.k8s.io/v1beta1"},
        "kind": {"const": "Kustomization"},
        "resources": {"type": "array", "items": {"type": "string"}},
        "images": {"type": "array", "items": {"type": "object", "required": ["name", "newName", "newTag"]}},
    },
    "required": ["apiVersion", "kind", "resources"],
    "additionalProperties": False,
}


def fault(thing):
    """What is wrong with one object, or nothing."""
    group = thing.get("apiVersion", "").split("/")[0]
    try:
        if group == "keda.sh":
            jsonschema.validate(thing, KEDA)
        elif group == "kustomize.config.k8s.io":
            jsonschema.validate(thing, KUSTOMIZATION)
        else:
            kubernetes_validate.validate(thing, KUBERNETES, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        return f"{'/'.join(str(part) for part in error.path)}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return error.message
    return None


def main():
    faults, objects = [], []
    for path in sorted(Path(sys.argv[1]).glob("*.yaml")):
        for thing in yaml.safe_load_all(path.read_text()):
            found = fault(thing)
            if found:
                faults.append(f"{path.name}: {thing.get('kind')} {thing.get('metadata', {}).get('name')}: {found}")
            objects.append({"file": path.name, **thing})
    json.dump({"faults": faults, "objects": objects}, sys.stdout)


main()
