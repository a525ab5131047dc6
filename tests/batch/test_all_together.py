"""Any options together: ranks have parts of the same epoch, and the rest after a state is the rest, on any number of ranks."""

import json
import warnings
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scdata

G = 24


@pytest.fixture(scope="module")
def other_set(tmp_path_factory):
    out = tmp_path_factory.mktemp("other") / "set"
    scdata.build_shards("synthetic:cells=210,genes=80,mean_genes=25,seed=6", out, block_size=16, shard_size=1 << 16)
    return out


OPTIONS = st.fixed_dictionaries(
    {
        "filter": st.sampled_from([None, "not is_control", "batch > 0 or age < 40"]),
        "subset": st.sampled_from([None, 90]),
        "group_by_length": st.booleans(),
        "lanes": st.sampled_from([1, 3, 4, 16]),
        "window": st.sampled_from([10, 70, 16384]),
        "seed": st.integers(0, 3),
        "num_threads": st.sampled_from([0, 2]),
    },
    optional={
        "max_tokens": st.sampled_from([90, 400]),
        "balance": st.sampled_from(["cell_type", "donor_id"]),
        "max_repeat": st.sampled_from([1, 3]),
    },
)


def cells(batch):
    numbers = batch["set"].tolist() if "set" in batch else [0] * len(batch["cell_id"])
    return list(zip(numbers, batch["cell_id"].tolist(), strict=True))


@pytest.mark.parametrize("stop", [None, "exhaust", "cycle"])
@settings(max_examples=15)
@given(options=OPTIONS, epoch=st.integers(0, 2), data=st.data())
def test_parts_and_rests(counts_set, other_set, stop, options, epoch, data):
    def loader(rank, world_size):
        own = {**options, "batch_size": G // world_size, "rank": rank, "world_size": world_size, "drop_last": False}
        if "max_tokens" in options:
            own["output"] = "packed"
        if stop is None:
            found = scdata.ShardDataset(counts_set, **own)
        else:
            found = scdata.mix({counts_set: 3, other_set: 2}, stop=stop, tokenizer="counts+fit", **own)
        found.set_epoch(epoch)
        return found

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is above lanes|.*come less than half as often", UserWarning)
        one = loader(0, 1)
        batches = list(one)
        assert len(batches) == len(one)
        assert sum(len(b["cell_id"]) for b in batches) == one.n_cells
        # where each batch of all ranks ends, and the cells up to there
        ends, seen = {0: Counter()}, Counter()
        for batch in batches:
            seen.update(cells(batch))
            if not batch["state"]["piece"]:
                ends[batch["state"]["position"]] = Counter(seen)
        between = [b["state"] for b in batches if not b["state"]["piece"]]
        start = data.draw(st.sampled_from([None, *between]))
        for world_size in (1, 2, 3, 4):
            rest = Counter()
            for rank in range(world_size):
                own = loader(rank, world_size)
                if start is not None:
                    own.load_state_dict(json.loads(json.dumps(start)))
                found = list(own)
                if start is None:
                    assert len(found) == len(own)
                for batch in found:
                    rest.update(cells(batch))
            done = ends[0 if start is None else start["position"]]
            assert rest == seen - done
            assert sum(rest.values()) == one.n_cells - sum(done.values())
