"""Bare pods with volumes: databases that are written to until they are stopped."""

import clients
import wait
import workloads as w


def databases(case, storage_class):
    return case.start("db", [w.redis("data"), w.sqlite("scratch")],
                      [w.claim_volume("data"), w.empty_dir("scratch")], claims=[("data", storage_class)])


def check_databases(case, storage_class, **spec):
    before = databases(case, storage_class)
    redis = case.writer(clients.RedisWriter(case.address("db"), 6379))
    sqlite = case.writer(clients.SqliteWriter(case.address("db"), 7000))
    migration = case.move("db", **spec)
    restored = len(redis.acknowledged), len(sqlite.acknowledged)
    address = case.pod("db")["status"]["podIP"]
    # They are written to again on the other node.
    wait.until("writes go on", lambda: len(redis.acknowledged) > restored[0] and len(sqlite.acknowledged) > restored[1])
    written = redis.stop(), sqlite.stop()
    assert clients.redis_missing(address, written[0]) == []
    assert clients.sqlite_missing(address, written[1]) == []
    assert clients.sqlite_integrity(address) == "ok"
    kinds = {item["name"]: item["kind"] for item in migration["status"]["volumes"]}
    assert kinds == {"data": "HostPath" if storage_class == "local-path" else "Local", "scratch": "EmptyDir"}, kinds
    assert before["spec"]["nodeName"] != case.pod("db")["spec"]["nodeName"]


def test_databases_on_host_path_volumes(case):
    check_databases(case, "local-path")


def test_databases_on_local_volumes(case):
    check_databases(case, "local-path-local")


def test_databases_frozen_instead_of_stopped(case):
    check_databases(case, "local-path", strategy={"stop": "Freeze"})


def test_there_and_back_again(case):
    before = databases(case, "local-path")
    redis = case.writer(clients.RedisWriter(case.address("db"), 6379))
    case.move("db", "there")
    case.move("db", "back")
    case.move("db", "again")
    after = case.pod("db")
    assert after["spec"]["nodeName"] != before["spec"]["nodeName"]
    assert clients.redis_missing(after["status"]["podIP"], redis.stop()) == []
