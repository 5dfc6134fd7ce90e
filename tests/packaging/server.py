"""An API server to test against, and how a case is counted."""
import copy
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "transship", "bin")
NAMESPACE = f"packaging-test-{os.getpid()}"
GROUP = f"/apis/transship.dev/v1alpha1/namespaces/{NAMESPACE}/containermigrations"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
RBAC = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
OWNER_UID = "11111111-2222-3333-4444-555555555555"

results = {"passed": 0, "failed": 0}


def check(name, problem):
    """Counts one case; `problem` says what is wrong with it, or nothing."""
    results["failed" if problem else "passed"] += 1
    print(f"{'FAIL' if problem else 'ok  '} {name}" + (f": {problem}" if problem else ""))


class Server:
    """The API server through `kubectl proxy`, which knows how to use any kubeconfig."""

    def __init__(self):
        environment = dict(os.environ, PATH=CACHE + os.pathsep + os.environ["PATH"])
        command = ["kubectl", "proxy", "--port=0", "--accept-hosts=.*", "--reject-paths=^$"]
        self.proxy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        line = self.proxy.stdout.readline()
        if "127.0.0.1:" not in line:
            sys.exit(f"api_test: kubectl proxy did not start: {line}")
        self.base = "http://127.0.0.1:" + line.rsplit(":", 1)[1].strip()

    def close(self):
        self.proxy.terminate()
        self.proxy.wait()

    def call(self, method, path, body=None, user=None, content_type="application/json"):
        """(status, object) of one request; `user` is impersonated."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.base + path, data=data, method=method)
        request.add_header("Content-Type", content_type)
        if user:
            request.add_header("Impersonate-User", user)
            request.add_header("Impersonate-Group", "system:authenticated")
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            try:
                return error.code, json.loads(text)
            except ValueError:
                return error.code, {"message": text}

    def apply(self, obj, path):
        """Server-side apply of a cluster-scoped object."""
        target = f"{path}/{obj['metadata']['name']}?fieldManager=packaging-test&force=true"
        status, answer = self.call("PATCH", target, obj, content_type="application/apply-patch+yaml")
        if status >= 300:
            sys.exit(f"api_test: apply {target}: {status} {answer.get('message')}")

    def patch(self, path, body, **kwargs):
        return self.call("PATCH", path, body, content_type="application/merge-patch+json", **kwargs)


def until(what, ready, seconds=30):
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            sys.exit(f"api_test: {what}: not within {seconds} s")
        time.sleep(0.1)


def read_all(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document]


def merged(base, change):
    """JSON merge patch (RFC 7386)."""
    if not isinstance(change, dict):
        return change
    out = copy.deepcopy(base) if isinstance(base, dict) else {}
    for key, value in change.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value)
    return out


def migration(name, spec=None):
    return {"apiVersion": "transship.dev/v1alpha1", "kind": "ContainerMigration", "metadata": {"name": name},
            "spec": merged({"podRef": {"name": "web-1"}}, spec or {})}


def refusal(status, answer, expected):
    """What is wrong with an answer, where part of a message, or None for success, was expected."""
    message = answer.get("message", "") if status >= 300 else None
    if expected is None:
        return message
    if message is None:
        return "accepted"
    return None if expected in message else f"refused with another message: {message}"
