"""`scdata publish` as a process of its own, as people run it: by HF_ENDPOINT and HF_TOKEN; killed, it goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

import scdata
import scdata.cli
from tests.hub.sets import REPO, assert_holds, on_disk, whole_or_nothing

SCHEMA = json.loads((Path(scdata.cli.__file__).parent / "events.schema.json").read_text())
# commits of a few files, so that there are moments between them
SMALL_COMMITS = """
import sys
from scdata.hub import upload
from scdata.cli.main import main
upload.MOST_FILES = 3
main(sys.argv[1:])
"""
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def run(environment, *arguments):
    command = [sys.executable, "-m", "scdata.cli.main", "publish", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_the_command_publishes_and_tells_no_secret(start_hub, environment, demo_set):
    hub = start_hub()
    token = environment(hub, HF_TOKEN="hf_ann")
    planned = run(token, demo_set.path, REPO, "--dry-run", "--private", "--json")
    events = [json.loads(line) for line in planned.stdout.splitlines()]
    for event in events:
        jsonschema.validate(event, SCHEMA)
    plan = events[-1]
    assert (plan["event"], plan["n_files"], plan["n_commits"], plan["commit"]) == ("plan", 14, 1, "")
    hub.fault = lambda n, method, path: 503 if "/commit/" in path and hub.count("POST", "/commit/") < 2 else None
    done = run(token, demo_set.path, REPO, "--private")
    assert done.returncode == 0, done.stderr
    assert "14 files" in done.stdout
    assert f'scdata.ShardDataset("hf://datasets/{REPO}@{plan["tag"]}")' in done.stdout
    assert "again in" in done.stderr
    assert hub.repos[REPO].private
    assert_holds(hub, demo_set)
    for text in (planned.stdout + planned.stderr, done.stdout + done.stderr):
        assert "hf_ann" not in text
        assert "secret" not in text


def test_without_a_network(start_hub, environment, demo_set):
    nowhere = environment(start_hub(), HF_ENDPOINT="https://no-hub.invalid")
    begin = time.monotonic()
    planned = run(nowhere, demo_set.path, REPO, "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr
    events = [json.loads(line) for line in planned.stdout.splitlines()]
    for event in events:
        jsonschema.validate(event, SCHEMA)
    plan = events[-1]
    assert (plan["asked"], plan["n_files"], plan["n_files_new"], plan["n_commits"]) == (False, 14, 14, 1)
    assert events[0]["text"].startswith("if nothing is there yet: 14 files")  # before the Hub is asked
    assert "the Hub cannot be reached" in events[-2]["text"]
    done = run(nowhere, demo_set.path, REPO)
    assert (done.returncode, done.stdout) == (1, "")
    assert "check the network" in done.stderr
    assert (
        time.monotonic() - begin < 60
    )  # seconds each, on an idle machine, where a Hub that is away is waited for longer


@pytest.mark.slow
def test_without_a_token(start_hub, environment, demo_set):
    hub = start_hub()
    done = run(environment(hub), demo_set.path, REPO, "--json")
    assert done.returncode == 1
    event = json.loads(done.stdout.splitlines()[-1])
    assert (event["event"], event["kind"]) == ("error", "StorageError")
    assert "no token was found: run `hf auth login`, or set HF_TOKEN" in event["message"]
    assert not hub.repos


def kill_at(hub, environment, path, at):
    """Start to publish, and kill the process when it asks for the `at`-th time; True if it was done before."""
    first = hub.n_requests
    process = None

    def fault(n, method, path):
        if n == first + at:
            os.kill(process.pid, signal.SIGKILL)
            return "cut"
        return None

    command = [sys.executable, "-c", SMALL_COMMITS, "publish", str(path), REPO]
    hub.fault = fault
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    status = process.wait(60)
    hub.fault = lambda *_: None
    assert status in (0, -signal.SIGKILL)
    return status == 0


def assert_goes_on(hub, environment, sets, moments):
    """Whatever a kill left, readers saw whole sets only, and the next attempt does not begin anew."""
    for at in moments:
        assert not kill_at(hub, environment, sets[-1].path, at), "it was done before"
        whole_or_nothing(hub, sets)
    scdata.publish(sets[-1].path, REPO)
    assert whole_or_nothing(hub, sets)[-1] == sets[-1]
    assert set(hub.repos[REPO].log) == {"main"}
    assert scdata.publish(sets[-1].path, REPO).n_files_new == 0


@pytest.mark.slow
def test_killed_while_it_publishes(start_hub, environment, demo_set):
    hub = start_hub()
    assert_goes_on(hub, environment(hub, HF_TOKEN="hf_ann"), [demo_set], [10, 25, 31])
    assert_holds(hub, demo_set)
    whole = {path for path in on_disk(demo_set) if path.startswith("shards/")}
    begun = [asked[1] for asked in hub.asked if "/complete/" in asked[1]]
    assert len(whole) <= len(begun) <= len(whole) + 3  # what a kill cut off goes up once more, and nothing else


def test_killed_while_another_set_gives_way(start_hub, environment, other_set, demo_set):
    hub = start_hub()
    scdata.publish(other_set.path, REPO)
    assert_goes_on(hub, environment(hub, HF_TOKEN="hf_ann"), [other_set, demo_set], [14, 42])
    assert_holds(hub, demo_set)


@pytest.mark.slow
def test_killed_at_every_request(start_hub, environment, other_set, demo_set):
    at, done = 1, False
    while not done:
        hub = start_hub()
        scdata.publish(other_set.path, REPO)
        token = environment(hub, HF_TOKEN="hf_ann")
        done = kill_at(hub, token, demo_set.path, at)
        whole_or_nothing(hub, [other_set, demo_set])
        scdata.publish(demo_set.path, REPO)
        assert_holds(hub, demo_set)
        assert set(hub.repos[REPO].log) == {"main"}
        at += 1
    assert at > 30
