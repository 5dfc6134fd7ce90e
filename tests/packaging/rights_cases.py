"""Who may do what: the verb migrate, the controller's roles and the mover's lack of them."""
from server import GROUP, NAMESPACE, RBAC, check, migration, refusal, until

def bind(server, user, role, rules):
    server.call("POST", f"{RBAC}/roles", {"metadata": {"name": role}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}
    server.call("POST", f"{RBAC}/rolebindings", {
        "metadata": {"name": f"{role}-{user}"}, "roleRef": reference,
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]})


def test_may_migrate(server):
    create = [{"apiGroups": ["transship.dev"], "resources": ["containermigrations"], "verbs": ["create"]}]
    everything = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["migrate"]}]
    one = [dict(everything[0], resourceNames=["web-1"])]
    other = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "delete", "create"]}]
    for user in ["alice", "bob", "carol", "dave"]:
        bind(server, user, "create", create)
    bind(server, "bob", "migrate", everything)
    bind(server, "carol", "migrate-one", one)
    bind(server, "dave", "other", other)
    bind(server, "eve", "migrate", everything)

    def attempt(user, pod="web-1"):
        return server.call("POST", GROUP + "?dryRun=All", migration("a", {"podRef": {"name": pod}}), user=user)

    lacks = f'lacks verb "migrate" on pod {NAMESPACE}/'
    until("roles in force", lambda: attempt("bob")[0] == 201)
    until("policy in force", lambda: lacks in attempt("alice")[1].get("message", ""))
    for what, user, pod, expected in [
            ("without the verb", "alice", "web-1", f"user alice {lacks}web-1: bind the ClusterRole"),
            ("with the verb", "bob", "web-1", None),
            ("with the verb on that pod", "carol", "web-1", None),
            ("with the verb on another pod", "carol", "web-2", f"user carol {lacks}web-2"),
            ("with other verbs on pods", "dave", "web-1", f"user dave {lacks}web-1"),
            ("with the verb, but not to create", "eve", "web-1", "cannot create resource"),
            ("the administrator", None, "web-1", None)]:
        check(f"may migrate: {what}", refusal(*attempt(user, pod), expected))


CONTROLLER = "system:serviceaccount:transship-system:transship-controller"
MOVER = "system:serviceaccount:transship-system:transship-mover"
HERE = "transship-system"

# (whose, verb, group, resource, namespace, allowed)
RIGHTS = [
    (CONTROLLER, "watch", "transship.dev", "containermigrations", "", True),
    (CONTROLLER, "patch", "transship.dev", "containermigrations/status", NAMESPACE, True),
    (CONTROLLER, "update", "transship.dev", "containermigrations/finalizers", NAMESPACE, True),
    (CONTROLLER, "delete", "transship.dev", "containermigrations", NAMESPACE, True),
    (CONTROLLER, "create", "transship.dev", "containermigrations", NAMESPACE, False),
    (CONTROLLER, "create", "transship.dev", "transshipnodes", "", True),
    (CONTROLLER, "patch", "transship.dev", "transshipnodes", "", True),
    (CONTROLLER, "create", "", "pods", NAMESPACE, True),
    (CONTROLLER, "delete", "", "pods", NAMESPACE, True),
    (CONTROLLER, "migrate", "", "pods", NAMESPACE, False),
    (CONTROLLER, "create", "", "pods/exec", NAMESPACE, False),
    (CONTROLLER, "create", "", "persistentvolumeclaims", NAMESPACE, True),
    (CONTROLLER, "patch", "", "persistentvolumes", "", True),
    (CONTROLLER, "watch", "", "nodes", "", True),
    (CONTROLLER, "patch", "", "nodes", "", False),
    (CONTROLLER, "list", "storage.k8s.io", "storageclasses", "", True),
    (CONTROLLER, "get", "apps", "replicasets", NAMESPACE, True),
    (CONTROLLER, "patch", "apps", "statefulsets", NAMESPACE, False),
    (CONTROLLER, "create", "events.k8s.io", "events", NAMESPACE, True),
    (CONTROLLER, "get", "admissionregistration.k8s.io", "mutatingadmissionpolicies", "", True),
    (CONTROLLER, "get", "", "secrets", NAMESPACE, False),
    (CONTROLLER, "list", "", "secrets", "", False),
    (CONTROLLER, "create", "", "secrets", HERE, True),
    (CONTROLLER, "create", "batch", "jobs", HERE, True),
    (CONTROLLER, "create", "batch", "jobs", NAMESPACE, False),
    (CONTROLLER, "update", "coordination.k8s.io", "leases", HERE, True),
    (CONTROLLER, "update", "coordination.k8s.io", "leases", "kube-system", False),
    (CONTROLLER, "get", "", "pods/log", HERE, True),
    (CONTROLLER, "get", "", "pods/log", NAMESPACE, False),
    (MOVER, "get", "", "pods", HERE, False),
    (MOVER, "get", "", "secrets", HERE, False),
    (MOVER, "get", "transship.dev", "containermigrations", NAMESPACE, False),
]


def test_rights(server):
    def allowed(user, verb, group, resource, namespace):
        name, _, subresource = resource.partition("/")
        attributes = {"verb": verb, "group": group, "resource": name, "subresource": subresource,
                      "namespace": namespace}
        review = {"spec": {"user": user, "groups": ["system:authenticated"], "resourceAttributes": attributes}}
        return server.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)[1]["status"]["allowed"]

    until("roles in force", lambda: allowed(*RIGHTS[0][:5]) and allowed(CONTROLLER, "create", "", "secrets", HERE))
    for user, verb, group, resource, namespace, expected in RIGHTS:
        who = user.rsplit(":", 1)[1]
        where = f"in {'its own' if namespace == HERE else 'another'} namespace" if namespace else "everywhere"
        got = allowed(user, verb, group, resource, namespace)
        what = f"rights: {who} {'may' if expected else 'may not'} {verb} {resource} {where}"
        check(what, None if got == expected else ("allowed" if got else "refused"))
