"""The installation itself: what `helm test` says of it, and the chart's switches that the API server has to take."""

import json

import wait
import workloads as w
from cluster import NAMESPACE, CommandFailed, run

BINDING = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/transship-may-migrate"
NETWORK_POLICIES = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"


def helm_test(case):
    return run(["helm", "test", "transship", "--namespace", NAMESPACE, "--logs"], env=case.cluster.env)


def scale(case, replicas):
    case.api.patch("Deployment", NAMESPACE, "transship-controller", {"spec": {"replicas": replicas}})
    wait.until(f"{replicas} controllers", lambda: len(case.cluster.controllers()) == replicas, 90)
    case.cluster.await_controller()


def left_of_the_test(case):
    names = case.cluster.kubectl("get", "serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,pods",
                                 "--namespace", NAMESPACE, "--output", "name").split()
    return [name for name in names if name.endswith("/transship-test")]


def test_helm_test_passes_and_leaves_nothing(case):
    case.cluster.await_controller()
    output = helm_test(case)
    assert "Transship is installed and works." in output, output
    assert not left_of_the_test(case), left_of_the_test(case)


def test_helm_test_fails_without_a_controller_and_a_policy(case):
    binding = case.api.request("GET", BINDING)
    scale(case, 0)
    try:
        case.api.request("DELETE", BINDING)
        try:
            output = helm_test(case)
        except CommandFailed as failure:
            output = str(failure)
        else:
            raise AssertionError(f"helm test passes:\n{output}")
        said = case.api.log(NAMESPACE, "transship-test")
        assert "no controller runs" in said and "transship-may-migrate is not in force" in said, f"{output}\n{said}"
    finally:
        for field in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
            binding["metadata"].pop(field, None)
        case.api.request("POST", BINDING.rpartition("/")[0], binding)
        scale(case, 2)
    assert "installed and works" in helm_test(case)


def selector_text(selector):
    """A label selector as a list takes it."""
    equal = [f"{key}={value}" for key, value in selector.get("matchLabels", {}).items()]
    return ",".join(equal + [f"{item['key']} in ({','.join(item['values'])})"
                             for item in selector.get("matchExpressions", [])])


def names(pods):
    return sorted(pod["metadata"]["name"] for pod in pods)


def test_network_policies_mean_the_pods_that_are_there(case):
    """No network plugin of the test cluster enforces them; who is meant, the API server knows."""
    case.cluster.upgrade("networkPolicy.enabled=true")
    try:
        policies = {item["metadata"]["name"]: item["spec"] for item in case.api.request("GET", NETWORK_POLICIES)["items"]}

        def meant(selector):
            return names(case.api.list("Pod", NAMESPACE, selector_text(selector)))

        controllers = names(case.cluster.controllers())
        dialling = policies["transship-mover"]["ingress"][0]["from"][0]["podSelector"]
        assert meant(policies["transship-controller"]["podSelector"]) == controllers, json.dumps(policies)
        assert meant(dialling) == controllers, json.dumps(dialling)
        case.start("app", [w.container("app", f"date > /data/born; sync; {w.IDLE}", mounts={"data": "/data"})],
                   [w.claim_volume("data", "app-data")], claims=["app-data"])
        uid = case.migrate("app")["metadata"]["uid"]
        movers = wait.until("both movers are there", lambda: (
            lambda pods: pods if len(pods) == 2 else None)(case.cluster.movers(uid)), 60)
        found = meant(policies["transship-mover"]["podSelector"])
        assert found == names(movers), found
        case.await_success()
        assert "installed and works" in helm_test(case)
    finally:
        case.cluster.upgrade("networkPolicy.enabled=false")
    assert not case.api.request("GET", NETWORK_POLICIES)["items"]
