"""The test cluster's API server, its kubectl, and Transship installed in it by the chart."""
import base64
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "transship")
OPERATOR_NAMESPACE = "transship-system"


def run(*command, **options):
    """Its output; ends the program with what it said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Cluster:
    """Requests to the API server with the token of a kubeconfig."""

    def __init__(self, kubeconfig):
        self.environment = dict(os.environ, KUBECONFIG=kubeconfig,
                                PATH=os.path.join(CACHE, "bin") + os.pathsep + os.environ["PATH"])
        with open(kubeconfig, encoding="utf-8") as file:
            config = yaml.safe_load(file)
        cluster = config["clusters"][0]["cluster"]
        self.server = cluster["server"]
        self.token = config["users"][0]["user"]["token"]
        authority = cluster.get("certificate-authority-data")
        self.tls = (ssl.create_default_context(cadata=base64.b64decode(authority).decode()) if authority else
                    ssl.create_default_context(cafile=cluster["certificate-authority"]))

    def open(self, method, path, body=None, timeout=60):
        request = urllib.request.Request(self.server + path, method=method,
                                         data=json.dumps(body).encode() if body is not None else None)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/json")
        return urllib.request.urlopen(request, timeout=timeout, context=self.tls)

    def call(self, method, path, body=None):
        """The object that was answered; None for 404."""
        try:
            with self.open(method, path, body) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            sys.exit(f"{method} {path}: {error.code} {error.read().decode()}")

    def kubectl(self, *arguments):
        return run("kubectl", *arguments, env=self.environment)

    def install(self):
        """The built programs as an image on both nodes, and the chart with it."""
        with tempfile.TemporaryDirectory() as directory:
            archive = os.path.join(directory, "transship.tar")
            run(os.path.join(ROOT, "scripts/image"), archive)
            run(os.path.join(ROOT, "scripts/cluster"), "load", archive)
        self.call("POST", "/api/v1/namespaces", {"metadata": {
            "name": OPERATOR_NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}}})
        run("helm", "install", "transship", os.path.join(ROOT, "charts/transship"), "--namespace", OPERATOR_NAMESPACE,
            "--set", "image.pullPolicy=Never,controller.replicas=1", "--wait", "--timeout", "120s", env=self.environment)
        until("leader", lambda: ((self.call("GET", f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR_NAMESPACE}/leases/"
                                           "transship-controller") or {}).get("spec") or {}).get("holderIdentity"))

    def controller_memory(self):
        """Bytes of the controller's resident memory, from its own metrics."""
        pods = self.call("GET", f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods?labelSelector="
                                "app.kubernetes.io/component%3Dcontroller")["items"]
        with urllib.request.urlopen(f"http://{pods[0]['status']['podIP']}:8080/metrics", timeout=10) as response:
            for line in response.read().decode().splitlines():
                if line.startswith("process_resident_memory_bytes"):
                    return float(line.split()[1])
        sys.exit("the controller does not say process_resident_memory_bytes")


def until(what, ready, seconds=120):
    """What `ready` answers, once that is something."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ready()
        if answer:
            return answer
        if time.monotonic() > deadline:
            sys.exit(f"{what}: not within {seconds} s")
        time.sleep(0.05)
