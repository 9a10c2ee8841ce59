"""Renders and lints the chart and checks manifests against the API's schemas, offline; one JSON document in, one out.

in:  {"chart": DIR, "namespace": NS, "values": [{...}], "wrong": [{...}], "yaml": [TEXT], "versions": ["1.34"]}
out: {"lint": [finding], "rendered": [[object]], "refused": [why or null], "read": [[object]], "invalid": [sentence]}
"""
import json
import sys

import helm_python
import kubernetes_validate
import yaml

# Kinds of other makers have no schema there.
FOREIGN = {"SecurityContextConstraints"}
# What a real list holds beside the lint of every chart.
INFO = 1

asked = json.load(sys.stdin)
answer = {"lint": [], "rendered": [], "refused": [], "read": [], "invalid": []}
with helm_python.Chart.load(asked["chart"]) as chart:
    for values in asked["values"]:
        report = helm_python.lint(asked["chart"], values, strict=True, namespace=asked["namespace"], kube_version="v1.34.0")
        answer["lint"] += report["errors"] + [m["error"] for m in report["messages"] if m["severity"] > INFO]
        files = chart.render(values, name="portreeve", namespace=asked["namespace"])
        documents = [doc for name, text in sorted(files.items()) if name.endswith(".yaml") for doc in yaml.safe_load_all(text) if doc]
        answer["rendered"].append(documents)
    for values in asked["wrong"]:
        try:
            chart.validate_schema(values)
            chart.render(values, name="portreeve", namespace=asked["namespace"])
            answer["refused"].append(None)
        except helm_python.HelmError as error:
            answer["refused"].append(str(error))
for text in asked["yaml"]:
    answer["read"].append([doc for doc in yaml.safe_load_all(text) if doc])
for documents in answer["rendered"] + answer["read"]:
    for document in documents:
        if document["kind"] in FOREIGN:
            continue
        for version in asked["versions"]:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(str(step) for step in error.path)
                answer["invalid"].append(f"{version} {document['kind']} {document['metadata']['name']}: {where}: {error.message}")
json.dump(answer, sys.stdout)
