"""A small client of the Kubernetes API: polling through it costs milliseconds, starting kubectl does not."""

import base64
import http.client
import json
import os
import ssl
import tempfile
import threading
import time
import urllib.parse

import yaml

# kind: (path of the API group, plural, namespaced)
KINDS = {
    "Pod": ("/api/v1", "pods", True),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims", True),
    "PersistentVolume": ("/api/v1", "persistentvolumes", False),
    "Secret": ("/api/v1", "secrets", True),
    "ConfigMap": ("/api/v1", "configmaps", True),
    "ServiceAccount": ("/api/v1", "serviceaccounts", True),
    "Namespace": ("/api/v1", "namespaces", False),
    "Node": ("/api/v1", "nodes", False),
    "Job": ("/apis/batch/v1", "jobs", True),
    "StatefulSet": ("/apis/apps/v1", "statefulsets", True),
    "Deployment": ("/apis/apps/v1", "deployments", True),
    "ReplicaSet": ("/apis/apps/v1", "replicasets", True),
    "Event": ("/apis/events.k8s.io/v1", "events", True),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases", True),
    "RuntimeClass": ("/apis/node.k8s.io/v1", "runtimeclasses", False),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings", True),
    "TransshipNode": ("/apis/transship.dev/v1alpha1", "transshipnodes", False),
    "ContainerMigration": ("/apis/transship.dev/v1alpha1", "containermigrations", True),
}


class ApiError(Exception):
    def __init__(self, status, body):
        super().__init__(f"HTTP {status}: {body.get('message', body)}")
        self.status = status
        self.reason = body.get("reason", "")
        self.message = body.get("message", "")


class Api:
    """Requests as administrator, or as `user` where one is named. A connection per thread."""

    def __init__(self, kubeconfig):
        with open(kubeconfig, encoding="utf-8") as file:
            config = yaml.safe_load(file)
        cluster = config["clusters"][0]["cluster"]
        address = urllib.parse.urlsplit(cluster["server"])
        self._host, self._port = address.hostname, address.port
        self._token = config["users"][0]["user"]["token"]
        with tempfile.NamedTemporaryFile("wb", suffix=".crt", delete=False) as file:
            file.write(base64.b64decode(cluster["certificate-authority-data"]))
        self._tls = ssl.create_default_context(cafile=file.name)
        os.unlink(file.name)
        self._local = threading.local()

    def _connect(self, timeout=30):
        return http.client.HTTPSConnection(self._host, self._port, context=self._tls, timeout=timeout)

    def _headers(self, user=None, content_type="application/json"):
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content_type}
        if user:
            headers["Impersonate-User"] = user
        return headers

    def request(self, method, path, body=None, content_type="application/json", user=None):
        data = None if body is None else json.dumps(body)
        for attempt in (1, 2):
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._connect()
            try:
                connection.request(method, path, body=data, headers=self._headers(user, content_type))
                response = connection.getresponse()
                text = response.read()
                break
            except (OSError, http.client.HTTPException):
                connection.close()
                self._local.connection = None
                if attempt == 2 or method != "GET":
                    raise
        if "json" not in response.headers.get("Content-Type", ""):
            if response.status >= 400:
                raise ApiError(response.status, {"message": text.decode(errors="replace")})
            return text.decode(errors="replace")
        answer = json.loads(text)
        if response.status >= 400:
            raise ApiError(response.status, answer)
        return answer

    @staticmethod
    def path(kind, namespace=None, name=None, subresource=None):
        group, plural, namespaced = KINDS[kind]
        parts = [group]
        if namespaced and namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)

    def get(self, kind, namespace, name):
        """None where there is no such object."""
        try:
            return self.request("GET", self.path(kind, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind, namespace=None, labels=None):
        query = "?labelSelector=" + urllib.parse.quote(labels) if labels else ""
        return self.request("GET", self.path(kind, namespace) + query)["items"]

    def create(self, thing, user=None):
        kind, namespace = thing["kind"], thing["metadata"].get("namespace")
        return self.request("POST", self.path(kind, namespace), thing, user=user)

    def patch(self, kind, namespace, name, patch, user=None, subresource=None):
        path = self.path(kind, namespace, name, subresource)
        return self.request("PATCH", path, patch, "application/merge-patch+json", user=user)

    def delete(self, kind, namespace, name, grace=None, user=None):
        """Whether there was such an object."""
        options = {"propagationPolicy": "Background"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            self.request("DELETE", self.path(kind, namespace, name), options, user=user)
            return True
        except ApiError as error:
            if error.status == 404:
                return False
            raise

    def log(self, namespace, pod, container=None, tail=None, previous=False):
        query = {key: value for key, value in
                 {"container": container, "tailLines": tail, "previous": previous or None}.items() if value is not None}
        try:
            return self.request("GET", self.path("Pod", namespace, pod, "log") + "?" + urllib.parse.urlencode(query))
        except ApiError as error:
            return f"(no log: {error})"

    def watch(self, kind, namespace, on_event, stop):
        """Calls on_event(type, object) in a thread of its own until `stop` is set. Misses nothing."""
        listing = self.request("GET", self.path(kind, namespace))
        for item in listing["items"]:
            on_event("ADDED", item)
        thread = threading.Thread(
            target=self._watch, daemon=True,
            args=(self.path(kind, namespace), listing["metadata"]["resourceVersion"], on_event, stop))
        thread.start()
        return thread

    def _watch(self, path, version, on_event, stop):
        while not stop.is_set():
            connection = self._connect(timeout=1)
            try:
                connection.request("GET", f"{path}?watch=1&resourceVersion={version}&allowWatchBookmarks=true",
                                   headers=self._headers())
                response = connection.getresponse()
                while not stop.is_set():
                    line = response.readline()
                    if not line:
                        break
                    event = json.loads(line)
                    version = event["object"]["metadata"].get("resourceVersion", version)
                    if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
                        on_event(event["type"], event["object"])
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
            finally:
                connection.close()
