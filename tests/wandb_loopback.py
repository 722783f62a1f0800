#!/usr/bin/env python3
"""A loopback stand-in for the W&B server, so that the online path is tested with the real client and no account.

    python wandb_loopback.py PORT FOLDER
    WANDB_BASE_URL=http://127.0.0.1:PORT WANDB_API_KEY=<any 40 letters> python -m lenet_lightning fit ...

It answers what wandb-core 0.31.0 asks for and keeps in FOLDER what the client sends: run.json (the last upsert of the
run: name, project, config), file_stream.jsonl (history, summary, log lines), uploads/ (media, summary, config, artifact
files, manifests), requests.log. It checks nothing, serves one run at a time and is no model of the server's limits.
"""

import gzip
import http.server
import json
import pathlib
import re
import sys

ENTITY = {"id": "ZQ==", "name": "tester"}

# what the client reads of an artifact that was taken
ARTIFACT = {
    "__typename": "Artifact",
    "artifactSequence": {
        "__typename": "ArtifactSequence",
        "id": "seq1",
        "name": "a",
        "project": {"id": "cA==", "internalId": "UHJvamVjdDox", "name": "p", "entity": ENTITY},
    },
    "versionIndex": 0,
    "artifactType": {"name": "dataset"},
    "description": None,
    "metadata": "{}",
    "ttlDurationSeconds": 0,
    "ttlIsInherited": True,
    "tags": [],
    "historyStep": None,
    "state": "COMMITTED",
    "size": 0,
    "digest": "x",
    "digestAlgorithm": None,
    "commitHash": "x",
    "fileCount": 1,
    "createdAt": "2026-01-01T00:00:00Z",
    "updatedAt": None,
    "aliases": [],
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = pathlib.Path()
    run: dict = {}  # noqa: RUF012 - shared on purpose: one run at a time

    def log_message(self, *args):
        """Say nothing on the terminal; requests.log has it."""

    def note(self, line):
        with (self.folder / "requests.log").open("a") as log:
            log.write(line + "\n")

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def reply(self, answer, status=200):
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.note(f"GET {self.path}")
        self.reply({})

    def do_PUT(self):
        data = self.body()
        name = re.sub(r"[^A-Za-z0-9_./-]", "_", self.path.split("?")[0]).strip("/").replace("..", "_")
        target = self.folder / name.replace("upload/", "uploads/", 1)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        self.note(f"PUT {self.path} {len(data)}")
        self.reply({})

    def do_POST(self):
        data = self.body()
        if "/file_stream" in self.path:
            with (self.folder / "file_stream.jsonl").open("ab") as stream:
                stream.write(data + b"\n")
            return self.reply({"exitcode": None, "limits": {}})
        if not self.path.startswith("/graphql"):
            return self.reply({})
        asked = json.loads(data)
        query, variables = asked.get("query", ""), asked.get("variables") or {}
        operation = asked.get("operationName") or next(iter(re.findall(r"(?:query|mutation)\s+(\w+)", query)), "?")
        self.note(f"{operation} {json.dumps(variables)[:500]}")
        refusal = self.folder / "refuse"
        if operation == "UpsertBucket" and refusal.exists():
            return self.reply({"errors": [{"message": refusal.read_text()}]}, status=400)
        return self.reply({"data": self.answer(operation, query, variables)})

    def answer(self, operation, query, variables):
        root = f"http://{self.headers['Host']}/upload"
        if operation == "UpsertBucket":
            self.run.update({k: v for k, v in variables.items() if v is not None})
            (self.folder / "run.json").write_text(json.dumps(self.run))
            project = {"id": "cA==", "name": self.run.get("project") or "uncategorized", "entity": ENTITY}
            name = self.run.get("name") or "run"
            bucket = {
                "id": "cnVu",
                "name": name,
                "displayName": self.run.get("displayName") or name,
                "description": None,
                "config": self.run.get("config"),
                "sweepName": None,
                "historyLineCount": 0,
                "project": project,
            }
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if operation == "CreateRunFiles":
            files = [{"name": f, "uploadUrl": f"{root}/{f}"} for f in variables.get("files", [])]
            return {"createRunFiles": {"runID": "cnVu", "uploadHeaders": [], "files": files}}
        if operation == "ArtifactType":
            return {"project": {"artifact": None}}
        if operation == "CreateArtifact":
            return {
                "createArtifact": {
                    "artifact": {"id": "a1", "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
                }
            }
        if operation in ("CreateArtifactManifest", "UpdateArtifactManifest"):
            upload = {"id": "f0", "uploadUrl": f"{root}/artifact/manifest.json", "uploadHeaders": []}
            return {operation[0].lower() + operation[1:]: {"artifactManifest": {"id": "m1", "file": upload}}}
        if operation == "CreateArtifactFiles":
            wanted = variables.get("input", variables).get("artifactFiles", [])
            nodes = [
                {
                    "node": {
                        "storagePath": f"s/{i}",
                        "uploadUrl": f"{root}/artifact/{w['name']}",
                        "uploadHeaders": [],
                        "uploadMultipartUrls": None,
                        "artifact": {"id": "a1"},
                    }
                }
                for i, w in enumerate(wanted)
            ]
            return {"createArtifactFiles": {"files": {"edges": nodes}}}
        if operation == "CommitArtifact":
            return {"commitArtifact": {"artifact": {"id": "a1", "digest": "x"}}}
        if operation == "ArtifactByID":
            return {"artifact": ARTIFACT | {"id": variables["id"]}}
        if operation == "OrganizationCoreWeaveOrganizationID":
            return {"entity": {"organization": {"coreWeaveOrganizationId": ""}}}  # without it the client waits 5 s
        if operation == "SweepWithRuns":
            sweep = {"id": "s1", "name": variables["sweep"], "state": "RUNNING", "runs": {"edges": []}}
            return {"project": {"sweep": sweep | {"config": (self.folder / "sweep.yaml").read_text()}}}
        if operation == "CreateAgent":
            return {"createAgent": {"agent": {"id": "agent"}}}
        if operation == "Heartbeat":
            return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(self.next_trial(variables))}}
        if "viewer" in query:
            return {
                "viewer": {
                    "id": "VXNlcjox",
                    "entity": "tester",
                    "username": "tester",
                    "email": "tester@example.org",
                    "flags": "{}",
                    "teams": {"edges": []},
                },
                "serverInfo": {
                    "features": [],
                    "latestLocalVersionInfo": None,
                    "cliVersionInfo": {"max_cli_version": "99.0.0"},
                },
            }
        if "serverInfo" in query:
            return {
                "serverInfo": {
                    "features": [],
                    "latestLocalVersionInfo": None,
                    "cliVersionInfo": {"max_cli_version": "99.0.0"},
                }
            }
        if "model(" in query or "bucket(" in query:
            return {"model": {"id": "cA==", "name": "p", "entity": ENTITY, "bucket": None}}
        return {}

    def next_trial(self, variables):
        """The next parameter set of trials.json for a sweep's agent, one at a time; at the end, to exit."""
        if any(json.loads(variables.get("runState") or "{}").values()):
            return []
        file = self.folder / "trials.json"
        trials = json.loads(file.read_text())
        if not trials:
            return [{"type": "exit"}]
        file.write_text(json.dumps(trials[1:]))
        values = {name: {"value": value} for name, value in trials[0].items()}
        return [{"type": "run", "run_id": f"trial{len(trials)}", "program": "lenet_lightning", "args": values}]


if __name__ == "__main__":
    Handler.folder = pathlib.Path(sys.argv[2])
    Handler.folder.mkdir(parents=True, exist_ok=True)
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
