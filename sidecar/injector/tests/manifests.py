"""Renders and lints the chart, checks manifests against the API's schemas and expressions against their types, offline; one JSON document in, one out.

in:  {"chart": DIR, "namespace": NS, "values": [{...}], "wrong": [{...}], "yaml": [TEXT], "versions": ["1.34"]}
out: {"lint": [finding], "rendered": [[object]], "refused": [why or null], "read": [[object]], "invalid": [sentence],
      "mistyped": [sentence], "typed": how many expressions were checked}
"""
import json
import sys

import helm_python
import kubernetes_validate
import yaml
from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

# Kinds of other makers have no schema there.
FOREIGN = {"SecurityContextConstraints"}
# What a real list holds beside the lint of every chart.
INFO = 1

# Of Kubernetes' own library only what the policies use; every step gives something to go on with.
AUTHORIZER = [
    cel.FunctionDecl(name, [cel.Overload(name, cel.Type.DYN, [cel.Type.DYN, cel.Type.STRING], True)])
    for name in ["group", "resource", "namespace", "name", "check"]
] + [cel.FunctionDecl("allowed", [cel.Overload("allowed", cel.Type.BOOL, [cel.Type.DYN], True)])]


def check_types(policy, answer):
    """As the API server does when a policy is created: what is no bool, or no string for a message, is not taken."""
    known = {name: cel.Type.DYN for name in ["object", "oldObject", "request", "namespaceObject", "authorizer"]}

    def type_of(expression, wanted=None):
        answer["typed"] += 1
        env = cel.NewEnv(variables=known, extensions=[ext_strings.ExtStrings()], functions=AUTHORIZER)
        try:
            found = env.compile(expression).return_type()
        except Exception as error:  # the wrapper raises what the C++ side says
            answer["mistyped"].append(f"{policy['metadata']['name']}: {expression}: {error}")
            return cel.Type.DYN
        if wanted is not None and found != wanted:
            answer["mistyped"].append(f"{policy['metadata']['name']}: {expression}: {found}")
        return found

    spec = policy["spec"]
    for condition in spec.get("matchConditions", []):
        type_of(condition["expression"], cel.Type.BOOL)
    for variable in spec.get("variables", []):
        known["variables." + variable["name"]] = type_of(variable["expression"])
    for validation in spec["validations"]:
        type_of(validation["expression"], cel.Type.BOOL)
        if "messageExpression" in validation:
            type_of(validation["messageExpression"], cel.Type.STRING)


asked = json.load(sys.stdin)
answer = {"lint": [], "rendered": [], "refused": [], "read": [], "invalid": [], "mistyped": [], "typed": 0}
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
        if document["kind"] == "ValidatingAdmissionPolicy":
            check_types(document, answer)
        for version in asked["versions"]:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(str(step) for step in error.path)
                answer["invalid"].append(f"{version} {document['kind']} {document['metadata']['name']}: {where}: {error.message}")
json.dump(answer, sys.stdout)
