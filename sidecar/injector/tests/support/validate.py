"""Validates the YAML documents of stdin strictly against the Kubernetes API of the version given, and prints how many they were."""

import sys

import kubernetes_validate
import yaml

count = 0
for document in yaml.safe_load_all(sys.stdin):
    kubernetes_validate.validate(document, sys.argv[1], strict=True)
    count += 1
print(count)
