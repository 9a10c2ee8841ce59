"""A FAKE kubectl for the plugin's tests: it answers out of files in $FAKE and writes each call down in $FAKE/calls.

Go templates are rendered by Helm's engine, which is the same language; nothing else of kubectl is here, and no cluster.
"""
import json
import os
import pathlib
import sys
import tempfile

import helm_python

fake = pathlib.Path(os.environ["FAKE"])
args = sys.argv[1:]
with open(fake / "calls", "a") as calls:
    calls.write(" ".join("TEMPLATE" if arg.startswith("go-template=") else arg for arg in args) + "\n")
args = [arg for arg in args if not arg.startswith(("--context=", "--kubeconfig="))]


def fail(why, code=1):
    sys.stderr.write(f"fake kubectl: {why}\n")
    sys.exit(code)


def option(name):
    return next((arg.split("=", 1)[1] for arg in args if arg.startswith(f"--{name}=")), None)


def render(template, value):
    with tempfile.TemporaryDirectory() as folder:
        chart = pathlib.Path(folder) / "fake"
        (chart / "templates").mkdir(parents=True)
        (chart / "Chart.yaml").write_text("apiVersion: v2\nname: fake\nversion: 0.0.1\n")
        (chart / "templates" / "out.txt").write_text("{{with .Values.root}}" + template + "{{end}}")
        with helm_python.Chart.load(str(chart)) as loaded:
            return loaded.render({"root": value}, name="fake")["fake/templates/out.txt"]


def read(name):
    path = fake / name
    if not path.exists():
        fail(f"{name} is not there")
    return json.loads(path.read_text())


template = next((arg.split("=", 1)[1] for arg in args if arg.startswith("go-template=")), None)
match args[:2]:
    case ["get", "pods"]:
        items = read("pods.json")["items"]
        if name := option("field-selector"):
            items = [pod for pod in items if pod["metadata"]["name"] == name.split("=", 1)[1]]
        if wanted := option("selector"):
            pairs = dict(pair.split("=", 1) for pair in wanted.split(","))
            items = [pod for pod in items if pairs.items() <= pod["metadata"].get("labels", {}).items()]
        if (namespace := option("namespace")) or "--all-namespaces" not in args:
            items = [pod for pod in items if pod["metadata"]["namespace"] == (namespace or "default")]
        sys.stdout.write(render(template, {"items": items}))
    case ["get", "pod"]:
        if "--ignore-not-found" in args:
            print("" if (fake / f"gone-{args[2]}").exists() else f"pod/{args[2]}")
        else:
            print((fake / f"restarts-{args[2]}").read_text() if (fake / f"restarts-{args[2]}").exists() else "0")
    case ["get", "namespace"]:
        sys.stdout.write(render(template, read(f"namespace-{args[2]}.json")))
    case ["get", "configmap"]:
        sys.stdout.write(render(template, read("settings.json")))
    case ["get", _]:
        sys.stdout.write(render(template, read(args[1].replace("/", "-") + ".json")))
    case ["exec", pod]:
        asked = args[args.index("--") + 1 :]
        if asked == ["portreeve", "status", "--json"]:
            if not (fake / f"status-{pod}").exists():
                fail(f"{pod} does not answer")
            sys.stdout.write((fake / f"status-{pod}").read_text())
        elif (fake / f"silent-{pod}").exists():
            fail(f"{pod} does not answer")
        elif asked == ["portreeve", "status", "--ready"] and (fake / f"ready-{pod}").exists():
            line = (fake / f"ready-{pod}").read_text()
            print(line)
            sys.exit(0 if line.startswith("ready") else 1)
        else:
            print(pod, *asked)
        sys.exit(int((fake / f"exit-{pod}").read_text()) if (fake / f"exit-{pod}").exists() else 0)
    case ["create", "configmap"]:
        key, path = option("from-file").split("=", 1)
        print(json.dumps({"kind": "ConfigMap", "metadata": {"name": args[2]}, "data": {key: open(path).read()}}))
    case ["apply", _] | ["apply", *_]:
        if (fake / "refuse").exists():
            fail((fake / "refuse").read_text())
        (fake / "applied.json").write_text(sys.stdin.read())
        print("configmap applied")
    case ["annotate", "pod"]:
        pass
    case ["auth", "can-i"]:
        sys.exit(1 if (fake / f"no-exec-{option('namespace')}").exists() else 0)
    case ["set", "image"]:
        pod = args[2].split("/")[1]
        if (fake / "refuse").exists():
            fail((fake / "refuse").read_text())
        (fake / f"restarts-{pod}").write_text("1")
        print(f"{args[2]} image updated")
    case _:
        fail(f"it knows no {args}", 70)
