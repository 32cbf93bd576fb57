"""Starts Millrace on a database of its own, signs a user up, and lets Schemathesis loose on both documents.

    run.py [--long] [--only workspace|platform]      by script/fuzz, which sets DATABASE_URL, REDIS_URL, MILLRACE_BIN
"""

import argparse
import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCUMENTS = {"workspace": "/api/v1/openapi.json", "platform": "/docs/openapi.json"}
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
]
# One seed for the short form, so that it says the same of the same code.
SEED = 2026
UNEXPECTED_METHODS = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE"]
CLERK_SECRET = secrets.token_hex(32)


def say(line):
    print(f"fuzz: {line}", file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def psql(url, command):
    subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-c", command, url], check=True)


@contextlib.contextmanager
def database():
    """A database with the extensions; gone afterwards, with the roles of its workspaces."""
    name = f"fuzz_{secrets.token_hex(8)}"
    server, _, _ = os.environ["DATABASE_URL"].rpartition("/")
    admin, _, _ = os.environ["MILLRACE_ADMIN_DATABASE_URL"].rpartition("/")
    psql(f"{server}/millrace", f"create database {name} template millrace_seed")
    try:
        yield f"{server}/{name}"
    finally:
        roles = subprocess.run(
            ["psql", "-qXAt", "-c",
             "select string_agg(rolname, ', ') from pg_roles where rolname ~ '^ws_[0-9a-f]{32}(_sql)?$'"
             " and exists (select from pg_namespace where nspname = substr(rolname, 1, 35))",
             f"{admin}/{name}"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()
        psql(f"{admin}/postgres", f"drop database {name} with (force)")
        if roles:
            psql(f"{admin}/postgres", f"drop role {roles}")


@contextlib.contextmanager
def millrace(database_url, folder):
    """Its processes; answers with its address."""
    port = free_port()
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "REDIS_PREFIX": f"fuzz{secrets.token_hex(8)}",
        "MILLRACE_SECRET": secrets.token_hex(32),
        "JOB_ENCRYPTION_KEY": f"fuzz:{secrets.token_hex(32)}",
        "STORAGE_URL": (folder / "files").as_uri(),
        "MAIL_URL": (folder / "mail").as_uri(),
        "CLERK_SECRET": CLERK_SECRET,
        "PORT": str(port),
        "LOG": "error,apalis_core=off",
    }
    binaries = Path(os.environ["MILLRACE_BIN"])
    subprocess.run([binaries / "migrate"], env=environment, check=True)
    # The run sends more requests than the limits allow. Limits are data, and have tests of their own.
    psql(database_url, "update control.rate_limits set requests = 2000000000")
    processes = {}
    try:
        for name in ("api", "scheduler", "all-workers"):
            processes[name] = subprocess.Popen([binaries / name], env=environment, stdin=subprocess.DEVNULL)
        base = f"http://127.0.0.1:{port}"
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{base}/ready", timeout=5).close()
                break
            time.sleep(0.1)
        else:
            raise SystemExit("fuzz: the API is not ready after 30 s")
        yield base
        fallen = [name for name, process in processes.items() if process.poll() is not None]
        if fallen:
            raise SystemExit(f"fuzz: ended by themselves: {', '.join(fallen)}")
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for process in processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(40)
            process.kill()
            process.wait()


def call(url, body=None, headers=None):
    request = urllib.request.Request(url, headers=(headers or {}) | {"Content-Type": "application/json"})
    if body is not None:
        request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def sign_up(base):
    """An owner's headers."""
    answer = call(f"{base}/api/v1/auth/signup", {
        "email": "ada@example.com", "password": "correct horse battery staple",
        "full_name": "Ada Lovelace", "company_name": "Analytical Engines",
    })
    return {"Authorization": f"Bearer {answer['access_token']}", "X-Workspace-Id": answer["workspace_id"]}


# Of how many of each thing the run makes use; some are deleted on the way.
MADE = 6
# What the schema of a new thing can't say, by its collection, given the ids of what was made before.
MORE = {
    "/recordsets": lambda ids: {"fields": [{"key": "name", "label": "Name", "field_type": "text"}]},
    "/records": lambda ids: {"data": {"name": "Ada"}},
    "/v1/scheduled-jobs": lambda ids: {
        "cron_expression": "0 3 * * *", "action_type": "export", "action_config": {"recordset_id": ids["recordset_id"]},
    },
}
# Of what none are made, and why.
NOT_MADE = {
    "/members": "a member joins: its POST invites",
    "/workspaces": "each is a schema of its own, which a job makes",
}


def collections(document):
    """The paths with a list to which POST adds items, and the schema of what it takes."""
    for path, item in document["paths"].items():
        items = re.compile(re.escape(path) + r"/\{[^/}]+\}")
        if "{" not in path and "get" in item and "post" in item and any(map(items.fullmatch, document["paths"])):
            body = item["post"].get("requestBody", {}).get("content", {}).get("application/json")
            if body and path not in NOT_MADE:
                yield path, resolved(document, body["schema"])


def resolved(document, schema):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def value(document, name, schema, ids, number):
    """A value that a schema takes, different for each number where it is free; none for an id of what isn't there yet."""
    if name in ids:
        return ids[name]
    ways = [way for way in schema.get("anyOf", schema.get("allOf", [])) if way.get("type") != "null"]
    schema = resolved(document, ways[0] if ways else schema)
    for given in (schema.get("examples"), schema.get("enum")):
        if given:
            return given[0]
    match schema.get("type"):
        case "object":
            return body(document, schema, ids, number)
        case "array":
            return [value(document, "", schema.get("items", {}), ids, number)]
        case "boolean":
            return False
        case "integer" | "number":
            return schema.get("minimum", 1)
    # Of ids only those of what was made lead anywhere.
    return None if schema.get("format") == "uuid" else f"some{number}"


def body(document, schema, ids, number):
    """What a schema requires; none while something in it isn't there yet."""
    members = {
        name: value(document, name, schema["properties"][name], ids, number) for name in schema.get("required", [])
    }
    return None if None in members.values() else members


def furnish(base, owner):
    """Several of everything, as the documents say what there is; things that others need are made first."""
    documents = [call(base + path) for path in DOCUMENTS.values()]
    sections = [(document, path, schema) for document in documents for path, schema in collections(document)]
    if len(sections) < 5:
        raise SystemExit(f"fuzz: the documents show only {len(sections)} collections")
    for number in range(MADE):
        ids, ahead = {}, sections
        while ahead:
            before, ahead = ahead, []
            for document, path, schema in before:
                new = body(document, schema, ids, number)
                if new is None:
                    ahead.append((document, path, schema))
                    continue
                new |= MORE.get(path, lambda _: {})(ids)
                try:
                    made = call(base + document["servers"][0]["url"].rstrip("/") + path, new, owner)
                except urllib.error.HTTPError as error:
                    raise SystemExit(f"fuzz: POST {path} refuses what its schema allows, {new}: MORE says what it takes"
                                     f" besides: {error.read().decode()}") from error
                if "id" in made:
                    ids[f"{path.rpartition('/')[2].removesuffix('s').replace('-', '_')}_id"] = made["id"]
            if len(ahead) == len(before):
                raise SystemExit(f"fuzz: nothing makes what these need: {', '.join(path for _, path, _ in ahead)}")
        # A job, for what shows jobs.
        call(f"{base}/api/v1/recordsets/export", {"recordset_id": ids["recordset_id"]}, owner)


def known_names(base, document, owner):
    """What a path's parameters can be, by their names: whatever the list above the parameter shows."""
    prefix = document["servers"][0]["url"].rstrip("/")
    values = {}
    for path, item in document["paths"].items():
        for above, parameter in re.findall(r"(?=(.*)/\{([^}]+)\})", path):
            if "{" in above or "get" not in document["paths"].get(above, {}):
                continue
            with contextlib.suppress(urllib.error.HTTPError):
                shown = call(base + prefix + above, headers=owner)
                for thing in things(shown):
                    names = (thing.get(name) for name in (parameter, "id", parameter.rpartition("_")[2]))
                    values.setdefault(parameter, set()).update(name for name in names if isinstance(name, str))
    # What no list shows.
    values.setdefault("workspace_id", set()).add(owner["X-Workspace-Id"])
    values.setdefault("user_id", set()).add(call(f"{base}/api/v1/auth/me", headers=owner)["id"])
    return {parameter: sorted(names) for parameter, names in values.items() if names}


def things(shown):
    """The objects in an answer's lists."""
    if isinstance(shown, list):
        yield from (thing for thing in shown if isinstance(thing, dict))
    elif isinstance(shown, dict):
        for value in shown.values():
            yield from things(value)


def named(document, *path):
    """A table of excluded.toml; every name in it must be an operation's."""
    names = tomllib.loads((HERE / "excluded.toml").read_text())
    for step in path:
        names = names.get(step, {})
    served = {operation["operationId"] for item in document["paths"].values() for operation in item.values()}
    unknown = names.keys() - served
    if unknown:
        raise SystemExit(f"fuzz: excluded.toml names operations that aren't served: {', '.join(sorted(unknown))}")
    return names


def never_well(har, document):
    """How many requests there were, and the operations that have not once answered with a success."""
    prefix = document["servers"][0]["url"].rstrip("/")
    operations = [
        (re.compile(re.sub(r"\\{[^}]+\\}", "[^/]+", re.escape(prefix + path)) + "/?"), method.upper(), operation)
        for path, item in document["paths"].items() for method, operation in item.items()
    ]
    entries = json.loads(har.read_text())["log"]["entries"]
    well = set()
    for entry in entries:
        if entry["response"]["status"] < 300:
            path, method = urllib.parse.urlsplit(entry["request"]["url"]).path, entry["request"]["method"]
            well.update(o["operationId"] for route, m, o in operations if m == method and route.fullmatch(path))
    return len(entries), sorted(o["operationId"] for _, _, o in operations if o["operationId"] not in well)


def fuzz(base, surface, owner, long, folder):
    document = call(base + DOCUMENTS[surface])
    left_out = named(document, surface)
    for name, reason in left_out.items():
        say(f"leaving out {surface} {name}: {reason}")
    names = known_names(base, document, owner)
    config, har = folder / f"{surface}.toml", folder / f"{surface}.har"
    lines = ["[headers]", f"X-Clerk-Secret = {json.dumps(CLERK_SECRET)}", *(f"{name} = {json.dumps(value)}" for name, value in owner.items())]
    for parameter, values in names.items():
        lines += [f"[dictionaries.{parameter}]", f"values = {json.dumps(values)}"]
    lines += ["[parameters]"]
    # Half of the paths lead somewhere, the others nowhere.
    lines += [f'"path.{parameter}" = {{ dictionary = "{parameter}", probability = 0.5 }}' for parameter in names]
    # Without QUERY: the service answers 501 to a method it doesn't know (RFC 9110, 15.6.2), which is no fault of it.
    lines += ["[phases.coverage]", f"unexpected-methods = {json.dumps(UNEXPECTED_METHODS)}"]
    for name in named(document, "not_configured", surface):
        lines += ["[[operations]]", f'include-operation-id = "{name}"']
        lines += ['checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]']
    config.write_text("\n".join(lines) + "\n")
    command = [
        Path(sys.executable).with_name("st"), "--config-file", config, "run", base + DOCUMENTS[surface],
        "--checks", ",".join(CHECKS), "--continue-on-failure", "--request-timeout", "40",
        "--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off", "--no-color",
        "--report", "har", "--report-har-path", har,
        *(["--max-examples", "150"] if long else ["--max-examples", "6", "--seed", str(SEED), "--no-shrink"]),
        *(argument for name in left_out for argument in ("--exclude-operation-id", name)),
    ]
    began = time.monotonic()
    # Schemathesis keeps notes in the working directory.
    status = subprocess.run(command, cwd=folder).returncode
    requests, never = never_well(har, document)
    verdict = "as documented" if status == 0 else "not as documented, see above"
    say(f"{surface}: {verdict}; {requests} requests in {time.monotonic() - began:.0f} s")
    say(f"{surface}: never with a success: {', '.join(name for name in never if name not in left_out) or 'none'}")
    try:
        call(f"{base}/api/v1/auth/me", headers=owner)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"fuzz: an operation of {surface} has ended the run's session ({error}): exclude it") from error
    return status == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", choices=DOCUMENTS)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as name, database() as url, millrace(url, Path(name)) as base:
        owner = sign_up(base)
        furnish(base, owner)
        surfaces = [arguments.only] if arguments.only else list(DOCUMENTS)
        # Each surface to its end, whatever the other says.
        good = [fuzz(base, surface, owner, arguments.long, Path(name)) for surface in surfaces]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
