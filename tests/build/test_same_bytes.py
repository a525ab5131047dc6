"""The same input and config give the same files, however many workers make them."""

import pytest

import scdata


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers(corpus, tree, build_process, tmp_path, workers):
    arguments, reference = corpus
    process = build_process(out=str(tmp_path / "set"), workers=workers, **arguments)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert tree(tmp_path / "set") == tree(reference)


def test_fitted_ranks_with_two_workers(tree, build_process, tmp_path):
    arguments = {
        "source": "synthetic:cells=3000,genes=200,mean_genes=80",
        "tokenizer": "geneformer-v2",
        "assets": "fit",
        "splits": ["val=0.1"],
        "shard_size": 65536,
    }
    scdata.build_shards(out=tmp_path / "one", **arguments)
    process = build_process(out=str(tmp_path / "two"), workers=2, **arguments)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


def test_another_place_and_a_scratch_folder(corpus, tree, tmp_path):
    arguments, reference = corpus
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "mine.txt").write_text("not of the build")
    scdata.build_shards(out=tmp_path / "deep" / "set", scratch=str(scratch), **arguments)
    # the plan says how many tasks there are, and the set does not depend on it
    assert tree(tmp_path / "deep" / "set") == tree(reference)
    assert [path.name for path in scratch.rglob("*")] == ["mine.txt"]


def test_another_seed_gives_other_bytes(corpus, tree, tmp_path):
    arguments, reference = corpus
    scdata.build_shards(out=tmp_path / "set", **{**arguments, "seed": 1})
    own, other = tree(tmp_path / "set"), tree(reference)
    assert own["manifest.json"] != other["manifest.json"]
    assert own["shards/000/train-000000.tar"] != other["shards/000/train-000000.tar"]
