"""Pods that tests move: small, quick to stop, and each with data that tell whether they survived."""

BUSYBOX = "transship.test/busybox:1"
DATABASES = "transship.test/databases:1"
PROGRAMS = "transship.test/programs:1"  # to be loaded: Cluster.load_programs

# The first process ignores SIGTERM unless it says otherwise.
IDLE = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"

# A row for each line that it is sent, acknowledged after the commit. WAL, and fully synchronous.
SQLITE_SERVER = r"""
import os, signal, socketserver, sqlite3, sys
path = sys.argv[1]
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA synchronous=FULL")
database.execute("PRAGMA wal_autocheckpoint=50")
database.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            word, _, value = line.decode().strip().partition(" ")
            if word == "SET":
                database.execute("INSERT OR REPLACE INTO rows VALUES (?, ?)", (int(value), "row " + value))
                answer = value
            elif word == "ALL":
                answer = " ".join(str(row[0]) for row in database.execute(
                    "SELECT id FROM rows WHERE text = 'row ' || id ORDER BY id"))
            else:
                answer = ",".join(row[0] for row in database.execute("PRAGMA integrity_check"))
            self.wfile.write(answer.encode() + b"\n")
class Server(socketserver.TCPServer):
    allow_reuse_address = True
Server(("", int(sys.argv[2])), Handler).serve_forever()
"""


def container(name, script=IDLE, image=BUSYBOX, mounts=None, **more):
    """`mounts`: a dictionary of mount points by volume name, or a list of volumeMounts."""
    if isinstance(mounts, dict):
        mounts = [{"name": volume, "mountPath": path} for volume, path in mounts.items()]
    return {"name": name, "image": image, "command": ["sh", "-c", script], "volumeMounts": mounts or [], **more}


def listening(port):
    return {"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": 60}


def redis(volume="data", **more):
    return {"name": "redis", "image": DATABASES, "volumeMounts": [{"name": volume, "mountPath": "/data"}],
            "command": ["redis-server", "--dir", "/data", "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
                        "--protected-mode", "no"],
            "readinessProbe": listening(6379), **more}


def sqlite(volume, port=7000, **more):
    return {"name": "sqlite", "image": DATABASES, "volumeMounts": [{"name": volume, "mountPath": "/scratch"}],
            "command": ["python3", "-c", SQLITE_SERVER, "/scratch/rows.db", str(port)],
            "readinessProbe": listening(port), **more}


def claim_volume(name, claim=None):
    return {"name": name, "persistentVolumeClaim": {"claimName": claim or name}}


def empty_dir(name, **options):
    return {"name": name, "emptyDir": options}


def pod_spec(containers, volumes=(), **more):
    return {"terminationGracePeriodSeconds": 5, "automountServiceAccountToken": False, "enableServiceLinks": False,
            "containers": containers, "volumes": list(volumes), **more}


def pod(namespace, name, containers, volumes=(), labels=None, **more):
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": namespace, "name": name, "labels": labels or {}},
            "spec": pod_spec(containers, volumes, **more)}


def claim_spec(storage_class="local-path", size="64Mi"):
    return {"accessModes": ["ReadWriteOnce"], "storageClassName": storage_class,
            "resources": {"requests": {"storage": size}}}


def claim(namespace, name, storage_class="local-path", size="64Mi", labels=None):
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"namespace": namespace, "name": name, "labels": labels or {}},
            "spec": claim_spec(storage_class, size)}


def stateful_set(namespace, name, spec, replicas=1, claims=("data",), storage_class="local-path"):
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"namespace": namespace, "name": name},
            "spec": {"replicas": replicas, "serviceName": name, "podManagementPolicy": "Parallel",
                     "selector": {"matchLabels": {"app": name}},
                     "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
                     "volumeClaimTemplates": [{"metadata": {"name": item}, "spec": claim_spec(storage_class)}
                                              for item in claims]}}


def deployment(namespace, name, spec, strategy="Recreate", replicas=1):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": namespace, "name": name},
            "spec": {"replicas": replicas, "strategy": {"type": strategy}, "selector": {"matchLabels": {"app": name}},
                     "template": {"metadata": {"labels": {"app": name}}, "spec": spec}}}


def migration(namespace, name, pod_name, **spec):
    return {"apiVersion": "transship.dev/v1alpha1", "kind": "ContainerMigration",
            "metadata": {"namespace": namespace, "name": name}, "spec": {"podRef": {"name": pod_name}, **spec}}
