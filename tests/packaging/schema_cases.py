"""The CRD: what is accepted, what is refused and with which message."""
import json
import urllib.request

from server import GROUP, OWNER_UID, check, merged, migration, refusal

# (what, name or None, change of the smallest spec, part of the refusal's message or None for accepted)
CREATED = [
    ("only podRef", None, {}, None),
    ("everything", None, {
        "podRef": {"uid": OWNER_UID}, "target": {"nodeName": "b", "storageClassName": "fast"},
        "state": {"volumes": {"include": ["data"]}}, "strategy": {
            "type": "PreCopy", "stop": "Freeze", "maxRounds": 5, "maxDowntimeSeconds": 10, "onBudgetExceeded": "Abort"},
        "transfer": {"mode": "Archive", "archive": {"claimName": "x"}, "bandwidthLimitBytesPerSecond": 1},
        "sourceRetentionSeconds": 1, "suspend": True, "cancel": True, "dryRun": True, "backoffLimit": 20,
        "activeDeadlineSeconds": 1, "ttlSecondsAfterFinished": 0}, None),
    ("a node selector", None, {"target": {"nodeSelector": {"disk": "ssd"}}}, None),
    ("an empty target", None, {"target": {}}, None),
    ("excluded volumes", None, {"state": {"volumes": {"exclude": ["tmp", "cache"]}}}, None),
    ("a name of 63 characters", "a" * 63, {}, None),
    ("a name of 64 characters", "a" * 64, {}, "choose a shorter metadata.name"),
    ("no podRef", None, {"podRef": None}, "podRef: Required"),
    ("a podRef without a name", None, {"podRef": {"name": None, "uid": "x"}}, "name: Required"),
    ("an empty pod name", None, {"podRef": {"name": ""}}, "at least 1"),
    ("a pod name with a slash", None, {"podRef": {"name": "ns/web"}}, "not a pod name"),
    ("a pod name in capitals", None, {"podRef": {"name": "Web"}}, "not a pod name"),
    ("a pod name of 254 characters", None, {"podRef": {"name": "a" * 254}}, "253"),
    ("a node name with a space", None, {"target": {"nodeName": "a b"}}, "not a node name"),
    ("both nodeName and nodeSelector", None, {"target": {"nodeName": "a", "nodeSelector": {"b": "c"}}},
     "nodeName and nodeSelector exclude each other"),
    ("an empty nodeSelector", None, {"target": {"nodeSelector": {}}}, "at least 1"),
    ("a label value of 64 characters", None, {"target": {"nodeSelector": {"a": "b" * 64}}}, "63"),
    ("a label key of 318 characters", None, {"target": {"nodeSelector": {"a" * 318: "b"}}}, "a key is longer"),
    ("both include and exclude", None, {"state": {"volumes": {"include": ["a"], "exclude": ["b"]}}},
     "include and exclude exclude each other"),
    ("an empty include", None, {"state": {"volumes": {"include": []}}}, "at least 1"),
    ("a volume twice", None, {"state": {"volumes": {"include": ["a", "a"]}}}, "Duplicate"),
    ("65 volumes", None, {"state": {"volumes": {"include": [f"v{i}" for i in range(65)]}}}, "at most 64"),
    ("an unknown strategy", None, {"strategy": {"type": "PostCopy"}}, "StopAndCopy"),
    ("everything after the stop", None, {"strategy": {"type": "StopAndCopy"}}, None),
    ("rounds where there are none", None, {"strategy": {"type": "StopAndCopy", "maxRounds": 3}}, "type PreCopy only"),
    ("a budget where nothing keeps to it", None, {"strategy": {"type": "StopAndCopy", "maxDowntimeSeconds": 3}},
     "type PreCopy only"),
    ("no rounds", None, {"strategy": {"maxRounds": 0}}, "greater than or equal to 1"),
    ("101 rounds", None, {"strategy": {"maxRounds": 101}}, "less than or equal to 100"),
    ("no downtime", None, {"strategy": {"maxDowntimeSeconds": 0}}, "greater than or equal to 1"),
    ("an end beyond no budget", None, {"strategy": {"onBudgetExceeded": "Abort"}}, "Abort needs maxDowntimeSeconds"),
    ("an unknown way out", None, {"strategy": {"maxDowntimeSeconds": 9, "onBudgetExceeded": "Hope"}}, "Proceed"),
    ("an unknown way to stop", None, {"strategy": {"stop": "Kill"}}, "Graceful"),
    ("an unknown mode", None, {"transfer": {"mode": "Mail"}}, "Direct"),
    ("mode Archive without archive", None, {"transfer": {"mode": "Archive"}}, "mode Archive needs archive.claimName"),
    ("an archive without a claim", None, {"transfer": {"mode": "Archive", "archive": {}}}, "claimName: Required"),
    ("an archive without mode Archive", None, {"transfer": {"archive": {"claimName": "x"}}},
     "archive is used by mode Archive only"),
    ("a compressed stream", None, {"transfer": {"compression": "Zstd"}}, None),
    ("an unknown compression", None, {"transfer": {"compression": "Gzip"}}, "Zstd"),
    ("a negative bandwidth", None, {"transfer": {"bandwidthLimitBytesPerSecond": -1}}, "greater than or equal to 0"),
    ("a negative retention", None, {"sourceRetentionSeconds": -1}, "greater than or equal to 0"),
    ("backoffLimit 21", None, {"backoffLimit": 21}, "less than or equal to 20"),
    ("a deadline of 0", None, {"activeDeadlineSeconds": 0}, "greater than or equal to 1"),
    ("a negative ttl", None, {"ttlSecondsAfterFinished": -1}, "greater than or equal to 0"),
    ("a duration as text", None, {"activeDeadlineSeconds": "5m"}, "integer"),
    ("memory", None, {"state": {"memory": "Include"}, "onRestoreFailure": "ColdStart"}, None),
    ("memory of a pod that is frozen", None, {"state": {"memory": "Include"}, "strategy": {"stop": "Freeze"}}, None),
    ("memory of a pod that ends", None, {"state": {"memory": "Include"}, "strategy": {"stop": "Graceful"}},
     "with stop Freeze only"),
    ("layers of a pod that ends", None, {"state": {"containerLayer": "Include"}, "strategy": {"stop": "Graceful"}},
     "with stop Freeze only"),
    ("no layers of a pod that ends", None, {"state": {"containerLayer": "Exclude"}, "strategy": {"stop": "Graceful"}}, None),
    ("a trial dump", None, {"state": {"memory": "Include"}, "preflight": {"trialDump": True}}, None),
    ("a trial dump without memory", None, {"preflight": {"trialDump": True}}, "set state.memory to Include"),
    ("no trial dump without memory", None, {"preflight": {"trialDump": False}}, None),
    ("half of the memory", None, {"state": {"memory": "Half"}}, "Include"),
    ("an unknown way on", None, {"onRestoreFailure": "Hope"}, "ColdStart"),
    ("a field that is not there", None, {"state": {"registers": "Include"}}, 'unknown field "spec.state.registers"'),
    ("a list of containers", None, {"containers": ["a"]}, 'unknown field "spec.containers"'),
]

# (what, change of the smallest spec at creation, change afterwards, part of the message or None)
UPDATED = [
    ("suspend and resume", {"suspend": True}, {"suspend": False}, None),
    ("cancel", {}, {"cancel": True}, None),
    ("take a cancellation back", {"cancel": True}, {"cancel": False}, "cannot be taken back"),
    ("take a cancellation out", {"cancel": True}, {"cancel": None}, "cannot be taken back"),
    ("set the bandwidth", {}, {"transfer": {"bandwidthLimitBytesPerSecond": 5}}, None),
    ("lift the bandwidth limit", {"transfer": {"bandwidthLimitBytesPerSecond": 5}},
     {"transfer": {"bandwidthLimitBytesPerSecond": None}}, None),
    ("another compression", {}, {"transfer": {"compression": "None"}}, "transfer.compression cannot be changed"),
    ("let it begin anew", {}, {"onRestoreFailure": "ColdStart"}, None),
    ("a trial dump later", {"state": {"memory": "Include"}}, {"preflight": {"trialDump": True}}, "preflight cannot be changed"),
    ("another trial dump", {"state": {"memory": "Include"}, "preflight": {"trialDump": True}},
     {"preflight": {"trialDump": False}}, "preflight cannot be changed"),
    ("memory later", {}, {"state": {"memory": "Include"}}, "state cannot be changed"),
    ("set the ttl", {}, {"ttlSecondsAfterFinished": 5}, None),
    ("take the ttl away", {"ttlSecondsAfterFinished": 5}, {"ttlSecondsAfterFinished": None}, None),
    ("another pod", {}, {"podRef": {"name": "web-2"}}, "podRef cannot be changed"),
    ("a pod UID later", {}, {"podRef": {"uid": "x"}}, "podRef cannot be changed"),
    ("a target later", {}, {"target": {"nodeName": "b"}}, "target cannot be changed"),
    ("another target", {"target": {"nodeName": "a"}}, {"target": {"nodeName": "b"}}, "target cannot be changed"),
    ("no target any more", {"target": {"nodeName": "a"}}, {"target": None}, "target cannot be changed"),
    ("another node selector", {"target": {"nodeSelector": {"a": "b"}}}, {"target": {"nodeSelector": {"a": "c"}}},
     "target cannot be changed"),
    ("another volume", {"state": {"volumes": {"include": ["a"]}}}, {"state": {"volumes": {"include": ["b"]}}},
     "state cannot be changed"),
    ("no state any more", {"state": {"volumes": {"include": ["a"]}}}, {"state": None}, "state cannot be changed"),
    ("another way to stop", {}, {"strategy": {"stop": "Freeze"}}, "strategy cannot be changed"),
    ("no strategy any more", {"strategy": {"stop": "Freeze"}}, {"strategy": None}, "strategy cannot be changed"),
    ("another mode", {}, {"transfer": {"mode": "Archive", "archive": {"claimName": "x"}}},
     "transfer.mode cannot be changed"),
    ("another archive", {"transfer": {"mode": "Archive", "archive": {"claimName": "x"}}},
     {"transfer": {"archive": {"claimName": "y"}}}, "transfer.archive cannot be changed"),
    ("another retention", {}, {"sourceRetentionSeconds": 9}, "sourceRetentionSeconds cannot be changed"),
    ("a dry run made real", {"dryRun": True}, {"dryRun": False}, "dryRun cannot be changed"),
    ("more attempts", {}, {"backoffLimit": 3}, "backoffLimit cannot be changed"),
    ("a deadline later", {}, {"activeDeadlineSeconds": 9}, "activeDeadlineSeconds cannot be changed"),
    ("no deadline any more", {"activeDeadlineSeconds": 9}, {"activeDeadlineSeconds": None},
     "activeDeadlineSeconds cannot be changed"),
]

TIME = "2026-01-02T03:04:05Z"
MICRO = "2026-01-02T03:04:05.678901Z"
WHOLE_STATUS = {
    "observedGeneration": 1, "phase": "Succeeded", "startTime": TIME, "completionTime": TIME,
    "conditions": [{"type": "Succeeded", "status": "True", "reason": "Migrated", "message": "done",
                    "observedGeneration": 1, "lastTransitionTime": TIME}],
    "source": {"nodeName": "node-a", "podName": "web-1", "podUID": OWNER_UID, "ownerKind": "StatefulSet",
               "ownerName": "web", "ownerUID": OWNER_UID},
    "target": {"nodeName": "node-b", "podName": "web-1", "podUID": OWNER_UID},
    "volumes": [{"name": "data", "kind": "HostPathVolume", "container": "main", "plan": plan, "medium": "Memory", "claimName": "data-web-1",
                 "sourceVolumeName": "pv-a", "targetVolumeName": "pv-b", "sourceReclaimPolicy": "Delete",
                 "targetReclaimPolicy": "Delete", "sourcePath": "/a", "targetPath": "/b", "ephemeral": False,
                 "readOnly": False, "claimUID": OWNER_UID, "bytes": 1 << 40, "entries": 3, "transferredBytes": 1 << 40,
                 "digest": "sha256:0", "message": "m"} for plan in ["Copy"]],
    "containers": [{"name": "main", "containerID": "c", "imageDigest": "sha256:0", "init": False, "restore": "Running",
                    "message": ""}],
    "progress": {"percent": 42, "text": "42%", "transferredBytes": 1, "totalBytes": 2, "remainingBytes": 1,
                 "transferredEntries": 1, "totalEntries": 2, "bytesPerSecond": 1},
    "downtimeSeconds": 3.25, "totalSeconds": 10.5,
    "trialDump": {"bytes": 1 << 40, "frozenSeconds": 1.5, "dumpSeconds": 1.25},
    "phaseTransitionTimestamps": [{"phase": "Pending", "time": MICRO}, {"phase": "Succeeded", "time": MICRO}],
    "preflight": [{"check": "PodRunning", "result": "Passed", "message": ""}],
    "epoch": 1, "attempts": 1, "rollback": {"reason": "Cancelled", "message": "m", "time": MICRO},
    "hold": {"ownerUID": OWNER_UID, "podName": "web-1", "labels": {"app": "web"}, "gateImage": "i",
             "gateImagePullPolicy": "Never", "gateGuaranteed": True, "runtimeClassName": "transship"},
    "sourceStopRequestedTime": MICRO, "sourceStoppedTime": MICRO, "committedTime": MICRO, "restoredTime": MICRO,
    "internal": {"anything": {"goes": [1, "a"]}},
}

# (what, change of the whole status, part of the message or None)
STATUSES = [
    ("the whole of it", {}, None),
    ("an unknown plan", {"volumes": [{"name": "a", "plan": "Burn"}]}, "Copy"),
    ("an unknown state of a container", {"containers": [{"name": "a", "restore": "Half"}]}, "Restored"),
    ("an unknown result", {"preflight": [{"check": "a", "result": "Maybe"}]}, "Passed"),
    ("a time that is none", {"committedTime": "noon"}, "date-time"),
    ("two conditions of a type", {"conditions": WHOLE_STATUS["conditions"] * 2}, "Duplicate"),
    ("a field that is not there", {"memory": {}}, 'unknown field "status.memory"'),
]


def test_schema(server):
    strict = "?fieldValidation=Strict"
    for what, name, spec, expected in CREATED:
        status, answer = server.call("POST", GROUP + strict + "&dryRun=All", migration(name or "a", spec))
        check(f"create: {what}", refusal(status, answer, expected))

    status, answer = server.call("POST", GROUP + "?dryRun=All", migration("a"))
    expected = {"podRef": {"name": "web-1"}, "strategy": {"type": "PreCopy",
                                                              "onBudgetExceeded": "Proceed"},
                "transfer": {"mode": "Direct", "compression": "Auto", "bandwidthLimitBytesPerSecond": 0}, "sourceRetentionSeconds": 0,
                "suspend": False, "cancel": False, "dryRun": False, "backoffLimit": 0}
    check("create: the defaults", None if answer.get("spec") == expected else f"{answer.get('spec')}")

    for number, (what, spec, change, expected) in enumerate(UPDATED):
        name = f"update-{number}"
        status, answer = server.call("POST", GROUP, migration(name, spec))
        if status >= 300:
            check(f"update: {what}", answer.get("message"))
            continue
        status, answer = server.patch(f"{GROUP}/{name}{strict}", {"spec": change})
        check(f"update: {what}", refusal(status, answer, expected))
        server.call("DELETE", f"{GROUP}/{name}")

    server.call("POST", GROUP, migration("status"))
    for what, change, expected in STATUSES:
        path = f"{GROUP}/status/status{strict}"
        status, answer = server.patch(path, {"status": merged(WHOLE_STATUS, change)})
        check(f"status: {what}", refusal(status, answer, expected))
    status, answer = server.call("GET", f"{GROUP}/status")
    kept = answer.get("status") == WHOLE_STATUS
    check("status: nothing of it is pruned", None if kept else f"{answer.get('status')}")
    status, answer = server.patch(f"{GROUP}/status", {"metadata": {"labels": {"a": "b"}}, "status": {"phase": "X"}})
    untouched = answer.get("status", {}).get("phase") == "Succeeded"
    check("status: not written with the object", None if untouched else f"{answer.get('status')}")
    test_columns(server)
    server.call("DELETE", f"{GROUP}/status")


def test_columns(server):
    request = urllib.request.Request(server.base + f"{GROUP}/status")
    request.add_header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
    with urllib.request.urlopen(request, timeout=60) as response:
        table = json.load(response)
    columns = [(c["name"], c["priority"]) for c in table["columnDefinitions"]]
    expected = [("Name", 0), ("Pod", 0), ("Source", 0), ("Target", 0), ("Phase", 0), ("Progress", 0), ("Downtime", 0),
                ("Age", 0), ("Reason", 1), ("Attempts", 1), ("Total", 1), ("Message", 1)]
    check("columns: their order", None if columns == expected else f"{columns}")
    cells = table["rows"][0]["cells"]
    cells[7] = "age"
    expected = ["status", "web-1", "node-a", "node-b", "Succeeded", "42%", 3.25, "age", "Migrated", 1, 10.5, "done"]
    check("columns: their values", None if cells == expected else f"{cells}")
    status, answer = server.call("GET", "/apis/transship.dev/v1alpha1")
    found = [(r["shortNames"], r["categories"]) for r in answer["resources"] if r["name"] == "containermigrations"]
    check("short name and category", None if found == [(["cmig"], ["transship"])] else f"{found}")
