"""Programs that people run, moved with their memory: each is asked for what nothing but its own memory knows."""

import contextlib
import http.client
import os
import pty
import subprocess

import clients
import wait
import workloads as w
from case import condition
from test_runtime_restore import MEMORY, check_never_started_anew, count, counter, runtime

# A web service whose sessions are in memory alone: tells its process, and how often the session has come.
SESSIONS = r"""
import http.server, uuid
started, sessions = uuid.uuid4(), {}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        session = self.headers.get("Cookie") or f"session={uuid.uuid4()}"
        sessions[session] = sessions.get(session, 0) + 1
        self.send_response(200)
        self.send_header("Set-Cookie", session)
        self.end_headers()
        self.wfile.write(f"{started} {sessions[session]}".encode())
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""

NGINX = r"""
cat >/tmp/nginx.conf <<'END'
worker_processes 2;
user nobody nogroup;
pid /tmp/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  server {
    listen 8080;
    location = /status { stub_status; }
    location = /version { return 200 first; }
  }
}
END
exec nginx -c /tmp/nginx.conf -g 'daemon off;'
"""

POSTGRES = r"""
initdb --pgdata /data/postgres --username postgres --auth trust >/dev/null
echo 'host all all all trust' >>/data/postgres/pg_hba.conf
exec postgres -D /data/postgres -c listen_addresses='*' -c unix_socket_directories=/tmp
"""

NO_IO_URING = {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}
NO_MPTCP = {"env": [{"name": "GODEBUG", "value": "multipathtcp=0"}]}


def program(script, port=8080, **more):
    return w.container("app", script, w.PROGRAMS, **({"readinessProbe": w.listening(port)} if port else {}), **more)


def node_js(**more):
    return program("exec node /programs/sessions.js", **more)


def go(**more):
    return program("exec /programs/sessions", **more)


def start(case, *containers, volumes=(), **more):
    runtime(case)
    case.cluster.load_programs()
    return case.start("app", list(containers), volumes, **more)


def move(case, **more):
    case.move("app", **{**MEMORY, **more})
    pod = case.pod("app")
    check_never_started_anew(pod)
    return pod


def get(pod, path="/", cookie=None, port=8080):
    """(what it answers, the cookie that it sets)"""
    connection = http.client.HTTPConnection(pod["status"]["podIP"], port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        response = connection.getresponse()
        assert response.status == 200, response.status
        return response.read().decode(), (response.headers["Set-Cookie"] or "").partition(";")[0]


def sessions_go_on(case, container, **more):
    """Sessions of a web service, each of which has come another number of times."""
    pod = start(case, container, **more)
    process = get(pod)[0].split()[0]
    visits = {get(pod)[1]: number for number in range(1, 5)}
    for cookie, number in visits.items():
        for _ in range(number - 1):
            get(pod, cookie=cookie)
    after = move(case)
    for cookie, number in visits.items():
        assert get(after, cookie=cookie)[0] == f"{process} {number + 1}", (cookie, number)
    return pod, after


def test_python(case):
    sessions_go_on(case, {"name": "app", "image": w.DATABASES, "command": ["python3", "-c", SESSIONS],
                          "readinessProbe": w.listening(8080)})


def test_node_js(case):
    sessions_go_on(case, node_js(**NO_IO_URING))


def test_java(case):
    sessions_go_on(case, program("exec /opt/java/bin/java -Xmx64m -cp /programs Sessions"))


def test_go(case):
    def threads(pod):
        return dict(map(int, line.split()) for line in get(pod, "/threads")[0].splitlines())

    pod = start(case, go(**NO_MPTCP))
    process, cookie = get(pod)
    wait.until("its threads count", lambda: min(threads(pod).values()) > 100)
    before = threads(pod)
    after = move(case)
    assert get(after, cookie=cookie)[0] == process.replace(" 1", " 2")
    now = threads(after)
    assert len(before) == 4 and now.keys() == before.keys(), (before, now)
    assert all(now[thread] >= before[thread] for thread in before), (before, now)
    wait.until("its threads count on", lambda: min(threads(after).values()) > max(now.values()))


def refused(case, container, *words):
    before = start(case, container)
    session = get(before)
    case.migrate("app", **MEMORY)
    migration = case.await_failure("TaskFailed")
    message = condition(migration, "Succeeded")["message"]
    assert all(word in message for word in words), message
    assert "sourceStopRequestedTime" not in migration["status"]
    assert get(case.check_source_is_back(before, same_pod=True), cookie=session[1])[0] == session[0].replace(" 1", " 2")


def test_node_js_with_io_uring_is_refused(case):
    refused(case, node_js(), "io_uring", "seccompProfile", "RuntimeDefault")


def test_go_with_mptcp_is_refused(case):
    refused(case, go(), "MPTCP", "GODEBUG=multipathtcp=0")


def test_nginx(case):
    def requests(pod):
        return int(get(pod, "/status")[0].splitlines()[2].split()[2])

    def processes():
        return case.shell("app", "pgrep -a nginx")

    pod = start(case, program(NGINX, port=None))
    wait.until("it listens", lambda: case.shell("app", "pgrep -c nginx", check=False).strip() == "3")
    before = [requests(pod) for _ in range(10)][-1]
    had = processes()
    after = move(case)
    assert requests(after) == before + 1
    assert processes() == had
    case.shell("app", "sed -i 's/200 first/200 second/' /tmp/nginx.conf && nginx -c /tmp/nginx.conf -s reload")
    wait.until("it has the new configuration", lambda: get(after, "/version")[0] == "second")


def test_memcached_as_another_user(case):
    def ask(pod):
        with contextlib.closing(clients.Connection(pod["status"]["podIP"], 11211, timeout=10)) as connection:
            stats, line = {}, connection.ask("stats")
            while line != "END":
                stats.__setitem__(*line.split()[1:])
                line = connection.file.readline().decode().strip()
            values = [(connection.ask(f"get key{number}"), connection.file.readline(), connection.file.readline())
                      for number in range(100)]
            return stats["pid"], stats["cmd_set"], int(stats["uptime"]), values

    pod = start(case, program("exec memcached -u nobody", port=11211))
    with contextlib.closing(clients.Connection(pod["status"]["podIP"], 11211)) as connection:
        for number in range(100):
            assert connection.ask(f"set key{number} 0 0 {len(str(number))}\r\n{number}") == "STORED"
    assert case.shell("app", "stat -c %U /proc/1").strip() == "nobody"
    process, sets, uptime, values = ask(pod)
    assert sets == "100" and values[42][1] == b"42\r\n", (sets, values[42])
    again = ask(move(case))
    assert (again[0], again[1], again[3]) == (process, sets, values)
    assert again[2] >= uptime, (uptime, again[2])


def test_postgresql_under_pgbench(case):
    server_only = "backend_type NOT IN ('client backend', 'autovacuum worker', 'parallel worker')"
    sums = ("SELECT count(*) FROM pgbench_history; SELECT sum(abalance) FROM pgbench_accounts; SELECT sum(bbalance) FROM "
            "pgbench_branches; SELECT sum(tbalance) FROM pgbench_tellers; SELECT sum(delta) FROM pgbench_history;")

    def ask(query):
        return case.exec("app", "psql", "-h", "/tmp", "-U", "postgres", "-Atqc", query).split("\n")[:-1]

    def processes():
        return ask(f"SELECT pg_postmaster_start_time(); SELECT backend_type, pid, backend_start FROM pg_stat_activity WHERE "
                   f"{server_only} ORDER BY 1, 2")

    def pgbench(pod, options):
        return f"pgbench {options} 'host={pod['status']['podIP']} user=postgres tcp_user_timeout=5000'"

    # PostgreSQL refuses to be root.
    pod = start(case, program(POSTGRES, port=5432, mounts={"data": "/data"}, securityContext={"runAsUser": 65534}),
                volumes=[w.empty_dir("data")])
    case.start("client", [w.container("client", image=w.PROGRAMS)])
    case.shell("client", pgbench(pod, "--initialize --quiet"))
    had = processes()
    case.shell("client", "cd /tmp; { " + pgbench(pod, "--client 4 --time 600 --log") +
               "; echo \"ended with $?\"; } >first 2>&1 &")
    wait.until("transactions are committed", lambda: int(ask("SELECT count(*) FROM pgbench_history")[0]) > 200)
    after = move(case)
    assert processes() == had, "PostgreSQL, or a process of it, was started anew"
    # Each of its clients has lost its connection, once; what was committed for them is there, and nothing twice.
    told = wait.until("pgbench sees its connections end", lambda: (
        lambda text: text if "ended with" in text else None)(case.shell("client", "cat /tmp/first")))
    assert "ended with 2" in told and told.count("client 0 aborted") == 1, told
    committed = int(case.shell("client", "cat /tmp/pgbench_log.* | wc -l"))
    history, *balances = map(int, ask(sums))
    assert 200 < committed <= history <= committed + 4, (committed, history)
    assert len(set(balances)) == 1, balances
    again = case.shell("client", pgbench(after, "--no-vacuum --client 4 --transactions 50"))
    assert "number of transactions actually processed: 200/200" in again, again
    assert "number of failed transactions: 0 " in again, again
    now, *balances = map(int, ask(sums + "CHECKPOINT;"))
    assert now == history + 200 and len(set(balances)) == 1, (history, now, balances)
    log = case.api.log(case.namespace, "app")
    assert not any(word in log for word in ("PANIC", "terminated by signal", "recovery")), log


def test_a_terminal(case):
    """What is typed before the move and after it reaches the same shell, and so do its answers who typed."""
    script = "number=0; while read -r line; do number=$((number + 1)); echo \"$number: $line\"; done"

    def type_in(line, expected):
        mine, its = pty.openpty()
        attached = subprocess.Popen(["kubectl", "--namespace", case.namespace, "attach", "-it", "app"], env=case.cluster.env,
                                    stdin=its, stdout=its, stderr=its)
        try:
            wait.until("it is attached", lambda: b"command prompt" in os.read(mine, 4096))
            os.write(mine, f"{line}\n".encode())
            seen = b""

            def answered():
                nonlocal seen
                seen += os.read(mine, 4096)
                return expected.encode() in seen
            wait.until(f"{expected} is answered", answered)
        finally:
            attached.kill()
            attached.wait()
            os.close(mine)
            os.close(its)

    start(case, w.container("app", script, tty=True, stdin=True))
    type_in("before the move", "1: before the move")
    terminal = case.shell("app", "readlink /proc/1/fd/0")
    move(case)
    assert case.shell("app", "readlink /proc/1/fd/0") == terminal
    type_in("after it", "2: after it")
    assert "2: after it" in case.api.log(case.namespace, "app")


def test_a_sidecar_goes_on_and_an_init_container_does_not_run_again(case):
    first = w.container("first", "echo run >>/shared/runs", mounts={"shared": "/shared"})
    sidecar = {**counter(7200), "name": "sidecar", "restartPolicy": "Always"}
    last = w.container("last", "echo run >>/shared/runs", mounts={"shared": "/shared"})
    pod = start(case, {**counter(), "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]},
                volumes=[w.empty_dir("shared")], initContainers=[first, sidecar, last])
    before = {port: count(pod, port) for port in (7100, 7200)}
    after = move(case)
    for port, (process, number) in before.items():
        assert count(after, port) == (process, number + 1), port
    assert case.shell("app", "cat /shared/runs", container="counter").split() == ["run", "run"]
    states = {item["name"]: item for item in after["status"]["initContainerStatuses"]}
    assert states["first"]["state"]["terminated"]["exitCode"] == states["last"]["state"]["terminated"]["exitCode"] == 0
    assert "running" in states["sidecar"]["state"] and states["sidecar"]["restartCount"] == 0, states


def not_one_instruction(case, names, **more):
    """Each program counts in its memory and in a file of a claim, whose source is kept for a while: what it has written
    last there is what went along, and what its memory went on from."""
    def numbers(node, path, name):
        return list(map(int, case.cluster.sh(node, f"od -An -v -t u8 -N 16 {path}/{name}").split()))

    case.create(w.claim(case.namespace, "data"))
    before = start(case, *(w.container(name, f"exec /programs/instructions /data/{name}", w.PROGRAMS, {"data": "/data"})
                           for name in names), volumes=[w.claim_volume("data")], **more)
    node, path = before["spec"]["nodeName"], case.volume_path(before, "data")
    for name in names:
        wait.until(f"{name} counts", lambda name=name: numbers(node, path, name)[0] > 1000000)
    case.migrate("app", sourceRetentionSeconds=60, **MEMORY)
    migration = case.await_success()
    left, digest = [numbers(node, path, name) for name in names], case.digest_of(node, path)
    after = case.check_moved(before, migration)
    check_never_started_anew(after)
    assert digest == case.volume_status(migration, "data")["digest"], "the source wrote after it was copied"
    for name, (last, differed) in zip(names, left):
        assert differed == 0, f"{name}: memory and file differed by {differed} on the source"
        now = [after["spec"]["nodeName"], case.volume_path(after, "data"), name]
        wait.until(f"{name} counts on", lambda now=now, last=last: numbers(*now)[0] > last)
        differed = numbers(*now)[1]
        assert differed == 0, f"{name}: memory went on {differed} steps before the file"
    wait.until("the source is kept no longer", lambda: not case.cluster.sh(node, f"ls -d {path}", check=False).startswith("/"), 120)


def test_not_one_instruction_runs_after_the_freeze(case):
    not_one_instruction(case, ["one"])


def test_not_one_instruction_runs_after_the_freeze_with_a_shared_process_namespace(case):
    not_one_instruction(case, ["one", "two"], shareProcessNamespace=True)
