"""The policy transship-hold: which pods it holds, and what it adds to them."""
import copy
import sys

from server import GROUP, NAMESPACE, OWNER_UID, PODS, check, migration, until

def owner(kind="StatefulSet", uid=OWNER_UID, controller=True):
    return {"apiVersion": "apps/v1", "kind": kind, "name": "web", "uid": uid, "controller": controller}


def pod(name="web-1", owners=None, labels=None, **spec):
    metadata = {"name": name, "labels": labels or {"app": "web", "hash": "1"}}
    if owners is not None:
        metadata["ownerReferences"] = owners
    base = {"containers": [{"name": "main", "image": "main", "resources": {}}], "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": dict(base, **spec)}


def what_was_added(answer):
    """(scheduling gates, init containers, gate volumes) of a pod that the server answered."""
    spec = answer["spec"]
    gates = [g["name"] for g in spec.get("schedulingGates", [])]
    initial = [c["name"] for c in spec.get("initContainers", [])]
    return gates, initial, [v["name"] for v in spec.get("volumes", []) if v["name"].startswith("transship")]


class Held:
    """A ContainerMigration with a hold, for the time of a `with`; waits until the policy knows it."""

    def __init__(self, server, hold, probe, name="hold"):
        self.server, self.hold, self.probe, self.name = server, hold, probe, name

    def __enter__(self):
        self.uid = self.server.call("POST", GROUP, migration(self.name))[1]["metadata"]["uid"]
        status, answer = self.server.patch(f"{GROUP}/{self.name}/status", {"status": {"hold": self.hold}})
        if status >= 300:
            sys.exit(f"api_test: set hold: {answer.get('message')}")
        if self.probe:
            until("hold in force", lambda: what_was_added(dry_create(self.server, self.probe)[1])[0])
        return self

    def __exit__(self, *_):
        self.server.call("DELETE", f"{GROUP}/{self.name}")
        if self.probe:
            until("hold gone", lambda: not what_was_added(dry_create(self.server, self.probe)[1])[0])


def dry_create(server, obj):
    status, answer = server.call("POST", PODS + "?dryRun=All", obj)
    if status >= 300:
        return status, {"spec": {}, "message": answer.get("message")}
    return status, answer


def expect(server, what, obj, expected):
    status, answer = dry_create(server, obj)
    if status >= 300:
        check(f"hold: {what}", answer["message"])
        return answer
    added = what_was_added(answer)
    check(f"hold: {what}", None if added == expected else f"got {added}, expected {expected}")
    return answer


GATED, GATE, VOLUME = ["transship.dev/restore"], "transship-gate", ["transship-gate"]
UNTOUCHED = ([], [], [])


def test_hold_by_owner(server):
    member = pod(owners=[owner()])
    expect(server, "no hold at all", member, UNTOUCHED)
    server.call("POST", GROUP, migration("bystander"))
    with Held(server, {"ownerUID": OWNER_UID, "podName": "web-1"}, member):
        expect(server, "StatefulSet: the replacement", member, (GATED, [], []))
        expect(server, "StatefulSet: a sibling", pod("web-2", [owner()]), UNTOUCHED)
        expect(server, "StatefulSet: of another one, same pod name", pod(owners=[owner(uid="other")]), UNTOUCHED)
        expect(server, "StatefulSet: an owner that is not the controller", pod(owners=[owner(controller=False)]),
               UNTOUCHED)
        expect(server, "StatefulSet: a bare pod of the name", pod(), UNTOUCHED)
        expect(server, "StatefulSet: already gated by others", pod(owners=[owner()], schedulingGates=[{"name": "a/b"}]),
               (["a/b"] + GATED, [], []))
        expect(server, "StatefulSet: already gated by us", pod(owners=[owner()], schedulingGates=[{"name": GATED[0]}]),
               (GATED, [], []))
        elsewhere = dict(member, metadata=dict(member["metadata"], namespace="default"))
        status, answer = server.call("POST", "/api/v1/namespaces/default/pods?dryRun=All", elsewhere)
        ok = status < 300 and what_was_added(answer) == UNTOUCHED
        check("hold: another namespace", None if ok else f"{answer}")
    test_hold_probe(server, member)
    with Held(server, {"ownerUID": OWNER_UID}, member):
        expect(server, "owner without a pod name: any of its pods", pod("web-7", [owner()]), (GATED, [], []))
    with Held(server, {"podName": "web-1"}, None):
        expect(server, "a hold that names no owner", member, UNTOUCHED)
    server.call("DELETE", f"{GROUP}/bystander")


def probe(uid, owners=None):
    """What the controller creates by a dry run: no name, and a label that says whose pod it stands for."""
    nameless = pod(owners=owners or [owner()], labels={"app": "web", "transship.dev/hold-probe": uid})
    del nameless["metadata"]["name"]
    nameless["metadata"]["generateName"] = "web-"
    return nameless


def test_hold_probe(server, member):
    expect(server, "probe: no hold at all", probe("none"), UNTOUCHED)
    with Held(server, {"ownerUID": OWNER_UID, "podName": "web-1"}, member) as held:
        expect(server, "probe: of this migration", probe(held.uid), (GATED, [], []))
        expect(server, "probe: of another migration", probe("11111111-1111-1111-1111-111111111111"), UNTOUCHED)
        expect(server, "probe: of another owner", probe(held.uid, [owner(uid="other")]), UNTOUCHED)
        expect(server, "probe: an empty label", probe(""), UNTOUCHED)
    with Held(server, gate_hold(), member) as held:
        expect(server, "probe: with the gate", probe(held.uid), (GATED, [GATE], VOLUME))


def test_hold_by_labels(server):
    member = pod("web-abc", [owner("ReplicaSet", "one")])
    with Held(server, {"labels": {"app": "web"}}, member):
        expect(server, "Deployment: the replacement", member, (GATED, [], []))
        expect(server, "Deployment: of the next ReplicaSet", pod("web-x", [owner("ReplicaSet", "two")], {"app": "web"}),
               (GATED, [], []))
        expect(server, "Deployment: another label", pod("web-x", [owner("ReplicaSet", "one")], {"app": "db"}), UNTOUCHED)
        unlabelled = pod("web-x", [owner("ReplicaSet", "one")])
        del unlabelled["metadata"]["labels"]
        expect(server, "Deployment: no labels", unlabelled, UNTOUCHED)
        expect(server, "Deployment: same labels, owned by a StatefulSet", pod("web-0", [owner()]), UNTOUCHED)
        expect(server, "Deployment: same labels, bare", pod("web-x"), UNTOUCHED)
        nameless = pod(owners=[owner("ReplicaSet", "one")])
        del nameless["metadata"]["name"]
        nameless["metadata"]["generateName"] = "web-"
        expect(server, "Deployment: a generated name", nameless, (GATED, [], []))
    with Held(server, {"labels": {"app": "web", "hash": "2"}}, pod("w", [owner("ReplicaSet", "a")],
                                                                   {"app": "web", "hash": "2"})):
        expect(server, "Deployment: only one of two labels", member, UNTOUCHED)
    with Held(server, {"labels": {}}, None):
        expect(server, "Deployment: no labels mean nobody", member, UNTOUCHED)


def gate_hold(**more):
    return dict({"ownerUID": OWNER_UID, "podName": "web-1", "gateImage": "example.test/transship:1"}, **more)


def test_gate(server):
    member = pod(owners=[owner()])
    volumes = [{"name": "data", "emptyDir": {}}]
    initial = [{"name": "setup", "image": "a"}, {"name": "sidecar", "image": "b", "restartPolicy": "Always"}]
    with Held(server, gate_hold(), member):
        answer = expect(server, "gate: without volumes and init containers", member, (GATED, [GATE], VOLUME))
        expect(server, "gate: with a volume", pod(owners=[owner()], volumes=volumes), (GATED, [GATE], VOLUME))
        answer = expect(server, "gate: before init containers and sidecars",
                        pod(owners=[owner()], initContainers=initial, volumes=volumes),
                        (GATED, [GATE, "setup", "sidecar"], VOLUME))
        kept = [v["name"] for v in answer["spec"].get("volumes", [])] == ["data", GATE]
        check("hold: gate: own volumes stay", None if kept else f"{answer['spec'].get('volumes')}")
        expect(server, "gate: already there", pod(owners=[owner()], initContainers=[initial[0], {
            "name": GATE, "image": "own"}]), (GATED, ["setup", GATE], []))
        expect(server, "gate: its volume already there", pod(owners=[owner()], volumes=[{
            "name": GATE, "emptyDir": {}}]), (GATED, [GATE], VOLUME))
        expect(server, "gate: a sibling", pod("web-2", [owner()], initContainers=initial),
               ([], ["setup", "sidecar"], []))
        check_gate(answer, "IfNotPresent", {})
        check("hold: gate: nothing else is changed", unchanged(server, answer))
    resources = {side: {"cpu": "50m", "memory": "32Mi"} for side in ("requests", "limits")}
    main = [{"name": "main", "image": "main", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]
    guaranteed = pod(owners=[owner()], containers=main)
    with Held(server, gate_hold(gateGuaranteed=True, gateImagePullPolicy="Never"), guaranteed):
        status, answer = dry_create(server, guaranteed)
        check_gate(answer, "Never", resources)
        quality = answer.get("status", {}).get("qosClass")
        check("hold: gate: a Guaranteed pod stays one", None if quality == "Guaranteed" else f"{quality}")
    check_restricted(server, member)


def test_runtime_class(server):
    """The pod whose containers are restored gets the RuntimeClass, which the API server wants to know."""
    classes = "/apis/node.k8s.io/v1/runtimeclasses"
    server.call("POST", classes, {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass",
                                  "metadata": {"name": "transship"}, "handler": "transship"})
    member, has_it = pod(owners=[owner()]), pod(owners=[owner()], runtimeClassName="transship")
    with Held(server, gate_hold(runtimeClassName="transship"), member):
        for what, asked in (("a pod without one", member), ("a pod that has it", has_it)):
            got = dry_create(server, asked)[1]["spec"].get("runtimeClassName")
            check(f"hold: RuntimeClass: {what}", None if got == "transship" else f"{got}")
        got = dry_create(server, pod("web-2", [owner()]))[1]["spec"].get("runtimeClassName")
        check("hold: RuntimeClass: a sibling keeps its own", got)
    server.call("DELETE", f"{classes}/transship")


def check_gate(answer, pull_policy, resources):
    gate = dict(answer["spec"]["initContainers"][0])
    for field in ("terminationMessagePath", "terminationMessagePolicy"):
        gate.pop(field, None)
    expected = {
        "name": GATE, "image": "example.test/transship:1", "imagePullPolicy": pull_policy,
        "command": ["/usr/bin/transship-mover", "gate", "--directory=/gate"], "resources": resources,
        "volumeMounts": [{"name": GATE, "mountPath": "/gate"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
                            "runAsUser": 65532, "readOnlyRootFilesystem": True,
                            "seccompProfile": {"type": "RuntimeDefault"}}}
    what = f"hold: gate: its definition ({pull_policy}, {'with' if resources else 'without'} resources)"
    check(what, None if gate == expected else f"{gate}")


def unchanged(server, held):
    """What differs, but for what the policy adds, between a held pod and the same one of no owner."""
    template = pod(initContainers=[{"name": "setup", "image": "a"}, {
        "name": "sidecar", "image": "b", "restartPolicy": "Always"}], volumes=[{"name": "data", "emptyDir": {}}])
    plain = dry_create(server, template)[1]["spec"]
    spec = copy.deepcopy(held["spec"])
    spec.pop("schedulingGates")
    spec["initContainers"] = [c for c in spec["initContainers"] if c["name"] != GATE]
    spec["volumes"] = [v for v in spec["volumes"] if v["name"] != GATE]
    return None if spec == plain else f"{spec} instead of {plain}"


def check_restricted(server, member):
    """The gate is admitted where the namespace enforces the restricted profile."""
    secure = copy.deepcopy(member)
    secure["spec"]["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    secure["spec"]["containers"][0]["securityContext"] = {"allowPrivilegeEscalation": False,
                                                          "capabilities": {"drop": ["ALL"]}}
    enforce = "pod-security.kubernetes.io/enforce"
    server.patch(f"/api/v1/namespaces/{NAMESPACE}", {"metadata": {"labels": {enforce: "restricted"}}})
    with Held(server, gate_hold(), secure):
        expect(server, "gate: under the restricted profile", secure, (GATED, [GATE], VOLUME))
    server.patch(f"/api/v1/namespaces/{NAMESPACE}", {"metadata": {"labels": {enforce: None}}})


def test_two_holds(server):
    first, second = pod(owners=[owner()]), pod("db-0", [owner(uid="db")])
    with Held(server, gate_hold(), first, "one"), Held(server, gate_hold(podName="db-0", ownerUID="db"), second, "two"):
        expect(server, "two migrations: the pod of the first", first, (GATED, [GATE], VOLUME))
        expect(server, "two migrations: the pod of the second", second, (GATED, [GATE], VOLUME))
        expect(server, "two migrations: the pod of neither", pod("web-3", [owner()]), UNTOUCHED)
    # Each also means a pod that the other does not, which shows when both are in force.
    only_other, only_one = pod("web-9", [owner()]), pod("x", [owner("ReplicaSet", "rs")], {"twin": "one"})
    other = {"ownerUID": OWNER_UID, "gateImage": "example.test/other:1"}
    with Held(server, other, only_other, "other"), Held(server, gate_hold(labels={"twin": "one"}), only_one, "one"):
        with_own = pod(owners=[owner()], initContainers=[{"name": "setup", "image": "a"}])
        expect(server, "two migrations that mean the same pod", with_own, (GATED, [GATE, "setup"], VOLUME))
