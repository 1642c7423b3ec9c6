"""Expands the templates as AWS would, without AWS, and lints what is written and what comes out.

    expand.py FOLDER     prints {"faults": [...], "template": {...}, "paired": {...}}

1. AWS::Include is replaced by the file it names (CloudFormation does this first of all).
2. Code on this machine becomes code in a bucket (`sam deploy` uploads it; the translator wants that done).
3. aws-sam-translator, the program behind AWS::Serverless, expands the rest.
4. For the assertions, parameters are replaced by their defaults, and `Fn::Sub` by its text: what is left in `${...}` is a resource.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::AccountId": "123456789012",
    "AWS::StackName": "stillpoint",
}
os.environ["AWS_DEFAULT_REGION"] = PSEUDO["AWS::Region"]
os.environ["SAM_CLI_TELEMETRY"] = "0"

from samtranslator.parser.parser import Parser  # noqa: E402  (the region must be set before)
from samtranslator.translator.translator import Translator  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402


def included(node, folder):
    """The same document with every AWS::Include replaced."""
    if isinstance(node, list):
        return [included(part, folder) for part in node]
    if not isinstance(node, dict):
        return node
    transform = node.get("Fn::Transform")
    if isinstance(transform, dict) and transform.get("Name") == "AWS::Include":
        return json.loads((folder / transform["Parameters"]["Location"]).read_text())
    return {key: included(value, folder) for key, value in node.items()}


def translated(template):
    if "Transform" not in template:
        return template
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = f"s3://uploaded/{resource['Properties']['CodeUri']}"
    return Translator({}, Parser()).translate(sam_template=template, parameter_values={})


def substituted(text, values):
    return re.sub(r"\$\{([^}!]+)\}", lambda found: str(values.get(found[1], found[0])), text)


def resolved(node, values):
    """The same document with parameters and substitutions replaced by what is known of them."""
    if isinstance(node, list):
        return [resolved(part, values) for part in node]
    if not isinstance(node, dict):
        return node
    if list(node) == ["Ref"] and node["Ref"] in values:
        return values[node["Ref"]]
    if list(node) == ["Fn::Sub"] and isinstance(node["Fn::Sub"], str):
        return substituted(node["Fn::Sub"], values)
    return {key: resolved(value, values) for key, value in node.items()}


def lint(paths):
    tool = Path(sys.executable).with_name("cfn-lint")
    run = subprocess.run([tool, "--format", "json", *paths], capture_output=True, text=True)
    if run.returncode != 0 and not run.stdout.strip():
        return [f"cfn-lint failed: {run.stderr}"]
    found = json.loads(run.stdout)
    return [f"{f['Filename']}:{f['Location']['Start']['LineNumber']}: {f['Rule']['Id']} {f['Message']}" for f in found]


def main():
    folder = Path(sys.argv[1])
    result, expanded = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        for name in ["template", "paired"]:
            template = translated(included(yaml_parse((folder / f"{name}.yaml").read_text()), folder))
            place = Path(scratch) / f"{name}-expanded.json"
            place.write_text(json.dumps(template, indent=1))
            expanded.append(place)
            defaults = {key: spec["Default"] for key, spec in template["Parameters"].items() if "Default" in spec}
            result[name] = resolved(template, defaults | PSEUDO)
        result["faults"] = lint([folder / "template.yaml", folder / "paired.yaml", *expanded])
    json.dump(result, sys.stdout)


main()
