"""Manifests and plans are of their schemas, and a manifest tells nothing of the machine and the hour that made it."""

import copy
import getpass
import json
import re
import socket
from importlib.resources import files

import jsonschema
import pytest

import scdata
from scdata.build import BuildConfig, Progress, plan_build
from scdata.resources import resource

DEMO = str(resource("demo/demo_pbmc_ifnb_1k.h5ad"))
BUILDS = {
    "synthetic": {
        "source": "synthetic:cells=600,genes=40,mean_genes=9",
        "splits": ["val=0.2:donor_id", "test=batch:'1'"],
        "obs_filter": "not is_control",
        "obs": ["cell_type", "is_control"],
        "limit": 250,
        "min_genes": 7,
        "max_counts": 90,
        "drop_duplicates": True,
    },
    "two sources": {"source": [DEMO, "synthetic:cells=300,genes=40"], "codec": "none", "layer": None},
    "h5ad": {
        "source": DEMO,
        "layer": "X",
        "feature_id": "ensembl_id",
        "dataset_column": "condition",
        "perturbation": "condition",
        "control": "control",
        "control_match": ["assay"],
    },
    "tokens": {"source": DEMO, "tokenizer": "geneformer-v2", "assets": "fit"},
}


def schema(package, name):
    table = json.loads((files(package) / name).read_text())
    jsonschema.Draft202012Validator.check_schema(table)
    return jsonschema.Draft202012Validator(table)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Manifest, as it stands in its file, and plan of each build."""
    out = {}
    for name, arguments in BUILDS.items():
        folder = tmp_path_factory.mktemp("schemas")
        arguments = {**arguments, "scratch": str(folder / "scratch"), "out": str(folder / "set")}
        source = arguments.pop("source")
        config = BuildConfig(
            sources=tuple([source] if isinstance(source, str) else source),
            **{k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()},
        )
        plan_build(config, Progress())
        plan = json.loads((folder / "set" / ".build" / "plan.json").read_text())
        scdata.build_shards(source, **arguments)
        out[name] = json.loads((folder / "set" / "manifest.json").read_text()), plan
    return out


@pytest.mark.parametrize("name", BUILDS)
def test_manifests_and_plans_are_of_their_schemas(built, name):
    manifest, plan = built[name]
    schema("scdata.shard", "manifest.schema.json").validate(manifest)
    schema("scdata.build", "plan.schema.json").validate(plan)


def _objects(value):
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(item)


@pytest.mark.parametrize(("package", "name", "which"), [("shard", "manifest", 0), ("build", "plan", 1)])
def test_a_schema_refuses_what_it_does_not_know(built, package, name, which):
    validator = schema(f"scdata.{package}", f"{name}.schema.json")
    table = built["synthetic"][which]
    for key in table:
        less = {k: v for k, v in table.items() if k != key}
        assert not validator.is_valid(less), key
    for key in ("config", "sources", "splits"):
        more = copy.deepcopy(table)
        (more[key][0] if isinstance(more[key], list) else more[key])["built_at"] = "now"
        assert not validator.is_valid(more), key
    # every object of the schema that lists properties is closed
    for part in _objects(validator.schema):
        assert "properties" not in part or part["additionalProperties"] is False


@pytest.mark.parametrize("name", BUILDS)
def test_a_manifest_names_no_place_person_or_hour(built, name):
    texts = []

    def collect(value):
        if isinstance(value, dict):
            texts.extend(value)
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            collect(item)
        if isinstance(value, str):
            texts.append(value)

    collect(built[name][0])
    for text in texts:
        assert not re.match(r"/|~|[A-Za-z]:\\|file:", text), text
        assert not re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d", text), text
        assert text not in (getpass.getuser(), socket.gethostname())
        assert "/tmp" not in text
    assert not {"time", "date", "created", "user", "host", "stat", "mtime_ns", "scratch"} & set(texts)
