"""A Hub that fails, is busy, cuts connections, loses answers, refuses; and rivals."""

import re
from random import Random

import pytest

import scdata
from scdata._errors import StorageError
from scdata.build.progress import Progress
from scdata.hub import repository, upload
from tests.hub.hub_server import File
from tests.hub.sets import REPO, assert_holds, build, on_disk, whole_or_nothing

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
BUSY = (429, {"Retry-After": "0"})
FAULTS = [
    500,
    BUSY,
    "cut",
    "lost",
    pytest.param(503, marks=pytest.mark.slow),
    pytest.param(504, marks=pytest.mark.slow),
]


# of few cells, because each test publishes several times
@pytest.fixture(scope="module")
def demo_set(tmp_path_factory):
    return build(tmp_path_factory.mktemp("sets") / "demo.set", limit=200, shard_size=1 << 16)


@pytest.fixture(scope="module")
def other_set(tmp_path_factory):
    return build(tmp_path_factory.mktemp("sets") / "other.set", limit=150, splits=[], shard_size=1 << 16)


class First:
    """The first requests of each kind become a fault."""

    def __init__(self, times, fault, *kinds):
        self.fault, self.left = fault, dict.fromkeys(kinds, times)

    def __call__(self, n, method, path):
        for kind, left in self.left.items():
            if left and kind[0] == method and re.search(kind[1], path):
                self.left[kind] -= 1
                return self.fault
        return None

    def is_over(self):
        return not any(self.left.values())


@pytest.mark.parametrize("fault", [*FAULTS, 412], ids=str)
def test_a_commit_that_fails(start_hub, demo_set, other_set, monkeypatch, fault):
    monkeypatch.setattr(upload, "MOST_FILES", 6)
    hub = start_hub(First(2, fault, ("POST", "/commit/")))
    done = scdata.publish(other_set.path, REPO)
    assert_holds(hub, other_set)
    # what arrived, though its answer did not, is not done twice
    assert len(hub.repos[REPO].log["main"]) == 1 + 2
    hub.fault = First(3, fault, ("POST", "/commit/"))
    done = scdata.publish(demo_set.path, REPO)
    assert hub.fault.is_over()
    assert_holds(hub, demo_set)
    assert len(hub.repos[REPO].log["main"]) == 1 + 2 + 1
    assert whole_or_nothing(hub, [other_set, demo_set])[-1] == demo_set
    assert hub.repos[REPO].tags[done.tag] == done.commit


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_any_other_request_that_the_client_asks_once(start_hub, demo_set, other_set, fault):
    hub = start_hub()
    begin = [("POST", "/repos/create"), ("GET", "/datasets/ann/pbmc$"), ("GET", "/revision/"), ("POST", "/tag/")]
    for shards, kinds in (
        (other_set, begin),
        (demo_set, [*begin[1:], ("POST", "/branch/"), ("DELETE", "/branch/"), ("POST", "/paths-info/")]),
    ):
        hub.fault = First(2, fault, *kinds)
        scdata.publish(shards.path, REPO)
        # what was done, though no answer came, is found done
        assert hub.fault.is_over() or fault == "lost"
        assert_holds(hub, shards)
        assert set(hub.repos[REPO].log) == {"main"}


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_bytes_that_do_not_arrive(start_hub, demo_set, fault):
    hub = start_hub(First(1, fault, ("PUT", "/large/")))
    scdata.publish(demo_set.path, REPO)
    assert hub.fault.is_over()
    assert_holds(hub, demo_set)
    assert hub.count("POST", "/commit/") == 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", [500, "lost"], ids=str)
def test_one_request_in_six_fails(start_hub, demo_set, other_set, monkeypatch, fault):
    monkeypatch.setattr(upload, "MOST_FILES", 3)
    random = Random(4)
    hub = start_hub(lambda n, *_: fault if random.random() < 1 / 6 else None)
    scdata.publish(other_set.path, REPO)
    scdata.publish(demo_set.path, REPO)
    assert_holds(hub, demo_set)
    assert whole_or_nothing(hub, [other_set, demo_set])[-1] == demo_set


def test_a_hub_that_stays_away(start_hub, demo_set, capsys):
    hub = start_hub(lambda n, method, path: 503 if "/commit/" in path else None)
    with pytest.raises(StorageError, match=r"ann/pbmc: .*503.*, 5 times; the same command goes on where it was"):
        scdata.publish(demo_set.path, REPO, progress=Progress("lines"))
    assert capsys.readouterr().err.count("again in 0 s") == 4
    hub.fault = lambda *_: None
    puts = hub.count("PUT", "/large/")
    scdata.publish(demo_set.path, REPO)
    assert_holds(hub, demo_set)
    assert hub.count("PUT", "/large/") == puts  # it had them all


def test_a_hub_that_is_not_there(start_hub, demo_set):
    start_hub().close()
    with pytest.raises(StorageError, match=r"ann/pbmc: .*refused.*, 5 times; the same command goes on"):
        scdata.publish(demo_set.path, REPO)


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "7"}, {"RateLimit": '"api";r=0;t=7'}, {"Retry-After": "7", "RateLimit": '"api";r=0;t=9'}],
)
def test_waiting_is_as_long_as_the_hub_asks(start_hub, demo_set, monkeypatch, headers):
    waits = []
    monkeypatch.setattr(repository.time, "sleep", waits.append)
    start_hub(First(1, (429, headers), ("POST", "/commit/")))
    scdata.publish(demo_set.path, REPO)
    assert max(waits) == 7.0


def test_somebody_else_commits_meanwhile(start_hub, demo_set, monkeypatch):
    monkeypatch.setattr(upload, "MOST_FILES", 6)
    hub = start_hub()

    def rival(n, method, path):
        if method == "POST" and "/commit/" in path and len(hub.repos[REPO].log["main"]) < 4:
            repo = hub.repos[REPO]
            files = {**repo.commits[repo.find("main")], "NOTES": File(b"theirs", size=6)}
            repo.commit("main", files, "theirs")

    hub.fault = rival
    scdata.publish(demo_set.path, REPO)
    assert hub.files(REPO)["NOTES"] == b"theirs"
    assert set(on_disk(demo_set)) <= set(hub.files(REPO))


def test_somebody_else_publishes_meanwhile(start_hub, demo_set, other_set, monkeypatch):
    monkeypatch.setattr(upload, "MOST_FILES", 6)
    hub = start_hub()
    scdata.publish(other_set.path, "ann/other")
    theirs = hub.repos["ann/other"]

    def rival(n, method, path):
        if method == "POST" and "/commit/" in path and len(hub.repos[REPO].log["main"]) == 2:
            hub.repos[REPO].commit("main", theirs.commits[theirs.find("main")], "theirs")

    hub.fault = rival
    with pytest.raises(StorageError, match="somebody else published a set to its branch 'main' meanwhile"):
        scdata.publish(demo_set.path, REPO)
    assert whole_or_nothing(hub, [demo_set, other_set])[-1] == other_set
    hub.fault = lambda *_: None
    scdata.publish(demo_set.path, REPO)
    assert_holds(hub, demo_set)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (
            None,
            "there is no dataset ann/pbmc, or it is private and needs a token; no token was found: run `hf auth login`",
        ),
        (
            "hf_wrong",
            "the Hub does not take the token that was found: make another one at https://huggingface.co/settings",
        ),
        ("hf_bob", "there is no dataset ann/pbmc, or it is private and the account of your token may not see it"),
    ],
)
@pytest.mark.parametrize("private", [True, False], ids=["private", "public"])
def test_refusals_say_what_to_do(start_hub, monkeypatch, demo_set, other_set, token, message, private):
    hub = start_hub()
    scdata.publish(other_set.path, REPO, private=private)
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    if not private and token != "hf_wrong":
        message = (
            "no token was found" if token is None else "the token may not write to ann/pbmc: make one with the role"
        )
    elif token is None:
        message = "no token was found"
    with pytest.raises(StorageError) as raised:
        scdata.publish(demo_set.path, REPO)
    assert message in str(raised.value)
    assert token is None or token not in str(raised.value)
    assert_holds(hub, other_set)
