"""Containers that go on: with what they wrote into their own layer, and with what only their memory knows."""

import clients
import wait
import workloads as w
from case import condition

MEMORY = {"state": {"memory": "Include"}}
LAYER = {"state": {"containerLayer": "Include"}}

# Counts in memory alone, as fast as a client asks; says which process it is, and since when.
COUNTER = r"""
import os, signal, socketserver, sys, uuid
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
process, count = uuid.uuid4(), 0
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        global count
        for line in self.rfile:
            count += 1
            self.wfile.write(f"{process} {count} {os.getpid()}\n".encode())
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True
Server(("", int(sys.argv[1])), Handler).serve_forever()
"""

# Asks another container, over one connection for ever; tells each answer, and when a connection ends.
ASKER = r"""
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True:
    try:
        connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        break
    except OSError:
        time.sleep(0.05)
answers = connection.makefile("rb")
with open(sys.argv[2], "w", buffering=1) as log:
    while True:
        connection.sendall(sys.argv[3].encode() + b"\n")
        answer = answers.readline().decode()
        log.write(answer if answer.endswith("\n") else "the connection ended\n")
        if not answer: break
        time.sleep(0.01)
while True: time.sleep(60)
"""


def runtime(case):
    """On both nodes, from here on."""
    if not case.api.get("RuntimeClass", None, "transship"):
        case.cluster.install_runtime()


def counter(port=7100, **more):
    return {"name": "counter", "image": w.DATABASES, "command": ["python3", "-c", COUNTER, str(port)],
            "readinessProbe": w.listening(port), **more}


def asker(volume, port=7100, question="next", **more):
    return {"name": "asker", "image": w.DATABASES, "command": ["python3", "-c", ASKER, str(port), "/shared/answers", question],
            "volumeMounts": [{"name": volume, "mountPath": "/shared"}], **more}


def redis_in_memory(**more):
    """Nothing of it is ever on a disk."""
    return {"name": "redis", "image": w.DATABASES, "workingDir": "/tmp",
            "command": ["redis-server", "--appendonly", "no", "--save", "", "--protected-mode", "no"],
            "readinessProbe": w.listening(6379), **more}


def ask(pod, port, line="next"):
    connection = clients.Connection(pod["status"]["podIP"], port, timeout=10)
    try:
        return connection.ask(line)
    finally:
        connection.close()


def count(pod, port=7100):
    """(process, number) of the counter, which counts this question too."""
    process, number, _ = ask(pod, port).split()
    return process, int(number)


def redis_process(pod):
    connection = clients.Connection(pod["status"]["podIP"], 6379, timeout=10)
    try:
        info = dict(line.split(":", 1) for line in connection.bulk("INFO server").split("\r\n") if ":" in line)
        return info["run_id"]
    finally:
        connection.close()


def check_never_started_anew(pod):
    statuses = pod["status"]["containerStatuses"]
    assert not any(item["restartCount"] for item in statuses), statuses


def test_redis_goes_on_without_a_disk(case):
    runtime(case)
    before = case.start("redis", [redis_in_memory()])
    process = redis_process(before)
    writer = case.writer(clients.RedisWriter(case.address("redis"), 6379))
    migration = case.move("redis", **MEMORY)
    wait.until("it is written to again", lambda: writer.acknowledged and len(writer.acknowledged) > 50)
    numbers = writer.stop()
    after = case.pod("redis")
    assert redis_process(after) == process, "another Redis"
    assert not clients.redis_missing(after["status"]["podIP"], numbers)
    check_never_started_anew(after)
    container = migration["status"]["containers"][0]
    assert container["restore"] == "Running", container
    assert case.volume_status(migration, "memory.redis")["bytes"] > 1 << 20


def test_a_layer_goes_along_without_memory(case):
    runtime(case)
    script = ("[ -e /etc/began ] || { echo once >/etc/began; rm /etc/group; mkdir -p /opt/a/b; echo kept >/opt/a/b/file; "
              "ln /opt/a/b/file /opt/a/linked; chmod 4711 /opt/a/b/file; }; date +%s >>/etc/starts; " + w.IDLE)
    case.start("app", [w.container("app", script)])
    case.move("app", **LAYER)
    assert case.shell("app", "cat /etc/began /opt/a/linked; wc -l </etc/starts").split() == ["once", "kept", "2"]
    assert case.shell("app", "ls /etc/group 2>&1 || true").startswith("ls: "), "a deleted file of the image is back"
    assert case.shell("app", "stat -c '%a %h' /opt/a/b/file").split() == ["4711", "2"]
    # There and back: what was carried does not grow.
    case.move("app", name="back", **LAYER)
    assert case.shell("app", "wc -l </etc/starts; stat -c '%h' /opt/a/b/file").split() == ["3", "2"]


def answers_of_one_connection(case, server, **more):
    """Moves a server with an asker beside it; all answers that the asker had before and afterwards."""
    runtime(case)
    case.start("two", [server, asker("shared", **more)], [w.empty_dir("shared")])

    def answers():
        return case.shell("two", "cat /shared/answers", container="asker").split("\n")[:-1]
    wait.until("it asks", answers)
    case.move("two", **MEMORY)
    check_never_started_anew(case.pod("two"))
    so_far = len(answers())
    wait.until("it asks on", lambda: len(answers()) > so_far + 20)
    return answers()


def test_a_connection_between_two_containers_goes_on(case):
    answers = answers_of_one_connection(case, counter())
    assert not [line for line in answers if "ended" in line], "the connection was ended"
    assert {line.split()[0] for line in answers} == {count(case.pod("two"))[0]}
    numbers = [int(line.split()[1]) for line in answers]
    assert numbers == sorted(set(numbers)), "an answer came twice, or out of order"


def test_a_connection_to_redis_in_the_same_pod_goes_on(case):
    answers = answers_of_one_connection(case, redis_in_memory(), port=6379, question="INCR asked")
    assert answers == [f":{number}" for number in range(1, len(answers) + 1)], "the connection was ended, or an answer was lost"


def test_each_kind_of_owner(case):
    runtime(case)
    case.create(w.stateful_set(case.namespace, "set", w.pod_spec([counter(
        volumeMounts=[{"name": "data", "mountPath": "/data"}])])))
    case.create(w.deployment(case.namespace, "deployment", w.pod_spec([counter()]) , strategy="RollingUpdate"))
    for labels, owner in (({"app": "set"}, "StatefulSet"), ({"app": "deployment"}, "Deployment")):
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        pod = case.ready_pods(selector)[0]
        process, number = count(pod)
        migration = case.move(pod["metadata"]["name"], name=owner.lower(), **MEMORY)
        after = case.pod(migration["status"]["target"]["podName"])
        again = count(after)
        assert again[0] == process and again[1] > number, (owner, process, number, again)
        check_never_started_anew(after)


def test_a_restricted_pod_goes_on(case):
    runtime(case)
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True,
                  "runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    limits = {"limits": {"cpu": "500m", "memory": "96Mi"}}
    before = case.start("app", [counter(securityContext=restricted, resources=limits)])
    process, number = count(before)
    rights = "grep -E '^(Uid|Gid|Cap|NoNewPrivs|Seccomp:)' /proc/1/status"
    had = case.shell("app", rights)
    case.move("app", **MEMORY)
    after = case.pod("app")
    again = count(after)
    assert again[0] == process and again[1] > number, again
    assert case.shell("app", rights) == had


def test_there_and_back_again(case):
    runtime(case)
    pod = case.start("app", [counter()])
    process, number = count(pod)
    for turn in range(4):
        case.move("app", name=f"turn-{turn}", **MEMORY)
        again = count(case.pod("app"))
        assert again[0] == process and again[1] > number, (turn, again)
        number = again[1]


def test_a_program_that_cannot_be_dumped_is_refused_before_it_is_stopped(case):
    runtime(case)
    script = "sleep 3600 & kill -STOP $!; " + w.IDLE
    before = case.start("app", [w.container("app", script)])
    case.migrate("app", **MEMORY)
    migration = case.await_failure("TaskFailed")
    assert "stopped" in condition(migration, "Succeeded")["message"], case.summary(migration)
    assert "sourceStopRequestedTime" not in migration["status"]
    case.check_source_is_back(before, same_pod=True)


def test_a_trial_dump_tells_what_to_expect(case):
    runtime(case)
    before = case.start("redis", [redis_in_memory()])
    process = redis_process(before)
    for number in range(20):
        assert ask(before, 6379, f"SETRANGE big:{number} 1000000 x").startswith(":")
    writer = case.writer(clients.RedisWriter(case.address("redis"), 6379))
    case.migrate("redis", name="would-it", dryRun=True, preflight={"trialDump": True}, **MEMORY)
    status = case.await_success("would-it", reason="DryRun")["status"]
    so_far = len(writer.acknowledged)
    wait.until("it is written to again", lambda: len(writer.acknowledged) > so_far + 20)
    trial = status["trialDump"]
    assert trial["bytes"] > 20_000_000 and 0 < trial["dumpSeconds"] <= trial["frozenSeconds"], trial
    assert status["estimatedDowntimeSeconds"] > 3, status
    assert redis_process(case.check_source_is_back(before, same_pod=True)) == process
    case.move("redis", preflight={"trialDump": True}, **MEMORY)
    numbers = writer.stop()
    after = case.pod("redis")
    assert redis_process(after) == process, "another Redis"
    assert not clients.redis_missing(after["status"]["podIP"], numbers)


# It has a Landlock ruleset open, which CRIU does not know; nothing is enforced by it.
RULESET = "import ctypes\nassert ctypes.CDLL(None).syscall(444, (ctypes.c_uint64 * 1)(1), 8, 0) > 2\n"


def test_a_trial_dump_finds_what_nothing_else_sees(case):
    runtime(case)
    before = case.start("app", [{**counter(), "command": ["python3", "-c", RULESET + COUNTER, "7100"]}])
    process, number = count(before)
    case.migrate("app", preflight={"trialDump": True}, **MEMORY)
    migration = case.await_failure("TrialDumpFailed")
    assert "landlock" in condition(migration, "Succeeded")["message"], case.summary(migration)
    found = [check for check in migration["status"]["preflight"] if check["check"] == "TrialDump"]
    assert found and found[0]["result"] == "Failed" and "landlock" in found[0]["message"], migration["status"]
    assert "sourceStopRequestedTime" not in migration["status"]
    again = count(case.check_source_is_back(before, same_pod=True))
    assert again[0] == process and again[1] == number + 1, (process, number, again)


def test_a_restore_that_fails_starts_nothing_until_it_is_asked_to(case):
    """CRIU on the target is made to fail once the pod is stopped: too late for preflight to see it."""
    runtime(case)
    script = "echo kept >/etc/layer; exec python3 -c \"$COUNTER\" 7100"
    case.start("app", [{**counter(), "command": ["sh", "-c", script], "env": [{"name": "COUNTER", "value": COUNTER}]}])
    process = count(case.pod("app"))[0]
    case.shell("app", "head -c 3000000 /dev/urandom >/big")
    node = case.cluster.other_node(case.pod("app")["spec"]["nodeName"])
    case.migrate("app", transfer={"bandwidthLimitBytesPerSecond": 2 << 20}, **MEMORY)
    case.await_condition("PreCopied")
    case.cluster.sh(node, "cd /usr/local/sbin && { mv criu criu.kept 2>/dev/null || true; } && "
                          "printf '#!/bin/sh\\nexit 1\\n' >criu && chmod 755 criu")
    try:
        migration = case.await_reason("Restored", "RestoreFailed")
        container = migration["status"]["containers"][0]
        assert container["restore"] == "Failed" and "runc restore" in container["message"], container
        pod = case.pod("app")
        assert not any("running" in item["state"] for item in pod["status"]["containerStatuses"]), pod["status"]
        wait.until("an event asks for a decision", lambda: any(
            item["reason"] == "RestoreFailed" and item["type"] == "Warning" for item in case.api.list("Event", case.namespace)))
    finally:
        case.cluster.sh(node, "cd /usr/local/sbin && rm criu && { mv criu.kept criu 2>/dev/null || true; }")
    case.change(onRestoreFailure="ColdStart")
    migration = case.await_success()
    after = case.ready_pod("app")
    assert count(after)[0] != process, "its memory was restored after all"
    assert case.shell("app", "cat /etc/layer; stat -c %s /big").split() == ["kept", "3000000"]


def test_a_database_goes_on_in_the_middle_of_a_transaction(case):
    runtime(case)
    case.start("app", [w.sqlite("scratch")], [w.empty_dir("scratch")])
    writer = case.writer(clients.SqliteWriter(case.address("app"), 7000))
    case.move("app", **MEMORY)
    so_far = len(writer.acknowledged)
    wait.until("it is written to again", lambda: len(writer.acknowledged) > so_far + 20)
    numbers = writer.stop()
    address = case.pod("app")["status"]["podIP"]
    assert not clients.sqlite_missing(address, numbers)
    assert clients.sqlite_integrity(address) == "ok"
    check_never_started_anew(case.pod("app"))
