"""A set goes to a Hub: what is there afterwards, what is not uploaded twice, and what readers see meanwhile."""

import re

import pytest

import scdata
from scdata._errors import CorruptShardError
from scdata.build.progress import Progress
from scdata.hub import upload
from scdata.hub.card import tag_of
from tests.hub.sets import REPO, assert_holds, build, on_disk, whole_or_nothing

# the client's, of the way it hands files to httpx
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_a_set_arrives_whole_and_goes_no_second_time(hub, demo_set):
    done = scdata.publish(demo_set.path, REPO)
    assert_holds(hub, demo_set)
    assert done.n_files == done.n_files_new == len(on_disk(demo_set)) + 2
    assert (done.n_commits, done.commit, done.tag) == (1, hub.repos[REPO].find("main"), tag_of(demo_set))
    assert hub.repos[REPO].tags == {done.tag: done.commit}
    assert not hub.repos[REPO].private
    assert hub.count("PUT", "/large/.*/part/") > 3  # the larger ones came in parts
    puts = hub.count("PUT", "/large/")
    again = scdata.publish(demo_set.path, REPO)
    assert (again.n_files_new, again.n_bytes_new, again.n_commits, again.commit) == (0, 0, 0, done.commit)
    assert hub.count("PUT", "/large/") == puts
    assert hub.count("POST", "/commit/") == 1


def test_a_dry_run_says_what_it_would_be_and_changes_nothing(hub, demo_set, other_set):
    plan = scdata.publish(demo_set.path, REPO, dry_run=True)
    assert (plan.n_files, plan.n_files_new, plan.n_commits, plan.commit) == (14, 14, 1, "")
    assert not hub.repos
    scdata.publish(demo_set.path, REPO)
    asked = len(hub.asked)
    plan = scdata.publish(other_set.path, REPO, dry_run=True)
    assert {method for method, *_ in hub.asked[asked:]} == {"GET"}
    done = scdata.publish(other_set.path, REPO)
    assert (plan.n_files_new, plan.n_bytes_new, plan.n_files_stale, plan.n_commits) == (
        done.n_files_new,
        done.n_bytes_new,
        done.n_files_stale,
        done.n_commits,
    )
    assert (done.n_files_stale, done.n_commits) == (2, 2)


def test_many_commits_and_the_manifest_last(hub, demo_set, monkeypatch):
    monkeypatch.setattr(upload, "MOST_FILES", 4)
    done = scdata.publish(demo_set.path, REPO)
    assert done.n_commits == 4
    assert_holds(hub, demo_set)
    assert whole_or_nothing(hub, [demo_set]) == [demo_set]
    summaries = [summary for _, summary in hub.repos[REPO].log["main"]]
    assert summaries[1:] == [f"Cells as shards, {done.tag} ({i} of 4)" for i in (1, 2, 3, 4)]


def test_another_set_takes_the_place_in_one_step(hub, demo_set, other_set, monkeypatch):
    monkeypatch.setattr(upload, "MOST_FILES", 4)
    scdata.publish(demo_set.path, REPO)
    repo = hub.repos[REPO]
    files = {**repo.commits[repo.find("main")], "LICENSE": repo.commits[repo.find("main")][".gitattributes"]}
    repo.commit("main", files, "by hand")
    scdata.publish(other_set.path, REPO)
    assert hub.files(REPO).pop("LICENSE") == b"*.tar filter=lfs\n"  # what is not ours stays
    del files["LICENSE"]
    assert set(hub.files(REPO)) - {"LICENSE", ".gitattributes", "README.md", "preview/cells.parquet"} == set(
        on_disk(other_set)
    )
    assert whole_or_nothing(hub, [demo_set, other_set])[-1] == other_set
    assert set(repo.log) == {"main"}  # the branch where it waited is gone
    assert_holds(hub, demo_set, tag_of(demo_set))  # for those who read it by its tag
    large = hub.count("PUT", "/large/")
    scdata.publish(demo_set.path, REPO)  # and back, of what the Hub has
    assert whole_or_nothing(hub, [demo_set, other_set])[-1] == demo_set
    assert hub.count("PUT", "/large/") == large


def test_a_branch_appears_whole(hub, demo_set, other_set):
    scdata.publish(demo_set.path, REPO)
    done = scdata.publish(other_set.path, REPO, branch="controls")
    assert_holds(hub, demo_set)
    assert_holds(hub, other_set, "controls")
    assert set(hub.repos[REPO].log) == {"main", "controls"}
    assert len(hub.repos[REPO].log["controls"]) == 1
    assert done.commit == hub.repos[REPO].tags[done.tag]


def test_too_many_files_to_change_at_once_are_refused_before_any_upload(hub, demo_set, other_set, monkeypatch):
    scdata.publish(demo_set.path, REPO)
    monkeypatch.setattr("scdata.hub.publish.MOST_AT_ONCE", 5)
    asked = len(hub.asked)
    with pytest.raises(ValueError, match=r"its branch 'main' holds another set.* over 5: publish to a new branch"):
        scdata.publish(other_set.path, REPO)
    assert {method for method, *_ in hub.asked[asked:]} == {"GET"}
    scdata.publish(other_set.path, REPO, branch="controls")
    assert_holds(hub, other_set, "controls")


def test_a_card_that_was_edited_there_is_not_replaced_in_silence(hub, demo_set, capsys):
    scdata.publish(demo_set.path, REPO, card="# Edited\n", progress=Progress("lines"))
    assert "replaced" not in capsys.readouterr().err
    scdata.publish(demo_set.path, REPO, progress=Progress("lines"))
    assert "README.md on the Hub is replaced; its history keeps it" in capsys.readouterr().err
    assert_holds(hub, demo_set)


def test_private_and_a_card_of_ones_own(hub, demo_set):
    scdata.publish(demo_set.path, REPO, private=True, card="---\nlicense: mit\n---\n# Mine\n")
    assert hub.repos[REPO].private
    assert hub.files(REPO)["README.md"] == b"---\nlicense: mit\n---\n# Mine\n"
    hub.repos[REPO].private = False
    with pytest.raises(ValueError, match="ann/pbmc is public already: --private is for new repositories"):
        scdata.publish(demo_set.path, REPO, private=True)


def test_statistics_go_along(hub, tmp_path):
    shards = build(tmp_path / "set")
    scdata.fit_set(shards.path)
    scdata.publish(shards.path, REPO)
    assert_holds(hub, shards)
    assert "stats.arrow" in hub.files(REPO)


@pytest.mark.parametrize("how", ["missing", "shorter", "altered"])
def test_a_damaged_set_is_not_published(hub, tmp_path, how):
    shards = build(tmp_path / "set")
    path = shards.shard_path("train", 1)
    data = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes(data[:-512] if how == "shorter" else data[:-1] + b"x")
    says = {
        "missing": "missing",
        "shorter": "has .* bytes, the manifest says",
        "altered": "sha256 is .*the manifest says",
    }
    with pytest.raises(CorruptShardError, match=f"train-000001.tar: {says[how]}"):
        scdata.publish(shards.path, REPO)
    assert REPO not in hub.repos or len(hub.repos[REPO].log["main"]) == 1


@pytest.mark.parametrize("repo_id", ["pbmc", "a/b/c", "a/ b", ""])
def test_a_name_that_is_none(hub, demo_set, repo_id):
    with pytest.raises(ValueError, match=re.escape(f"repo_id = {repo_id!r}: write USER/NAME")):
        scdata.publish(demo_set.path, repo_id)
    assert not hub.asked
