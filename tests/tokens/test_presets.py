import dataclasses

import pytest

from scdata import load_tokenizer
from scdata._config import to_table
from scdata._errors import PresetError
from scdata.resources import resource
from scdata.tokens import load_preset, preset_names, preset_path
from scdata.tokens.preset import preset_from_table

WHOLE = """
description = "d"
stores = "counts"
context_length = 10
[vocab]
special = ["<pad>", "<cls>"]
pad = "<pad>"
mask = "<cls>"
[genes]
choice = "expressed"
cut = "first"
prepend = ["<cls>"]
append = []
[value]
kind = "rank"
total = "source"
target_sum = 1e4
n_bins = 51
ties = "upper"
pad = 0
special = 0
"""


def load(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_preset(str(path))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache of this test's own, empty."""
    monkeypatch.setenv("SCDATA_CACHE", str(tmp_path_factory.mktemp("cache")))


SHIPPED = {
    # stores, kind, context length, published vocabulary, what is fitted where its own genes are used
    "cell-jepa": ("counts", "quantile", 601, True, ()),
    "counts": ("counts", "counts", None, False, ()),
    "depth-bins": ("tokens", "depth_edges", None, False, ("bin edges by depth",)),
    "geneformer-v1": ("tokens", "rank", 2048, True, ("medians",)),
    "geneformer-v2": ("tokens", "rank", 4096, True, ("medians",)),
    "lingshu-cell": ("counts", "levels", None, False, ()),
    "scfoundation": ("counts", "lognorm", None, True, ()),
    "scgpt": ("counts", "quantile", 1200, True, ()),
    "transcriptformer": ("counts", "counts", 2047, True, ()),
}


def test_the_presets_that_come_along():
    assert set(SHIPPED) <= set(preset_names())
    assert preset_names() == sorted(preset_names())
    for name, (stores, kind, context_length, published, unfitted) in SHIPPED.items():
        preset = load_preset(name)
        assert (preset.stores, preset.value.kind, preset.context_length) == (stores, kind, context_length), name
        assert preset.published is published, name
        assert load_tokenizer(name, "fit").unfitted == unfitted, name
        assert load_tokenizer(name, "fit").name == (f"{name}+fit" if published else name)
    scgpt = load_preset("scgpt")
    assert (scgpt.value.n_bins, scgpt.value.ties, scgpt.genes.cut, scgpt.value.pad) == (51, "upper", "random", -2)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_what_its_table_says_again(name):
    preset = load_preset(name)
    assert preset_from_table(to_table(preset), name) == preset


def test_a_whole_preset_is_read(tmp_path):
    preset = load(tmp_path, WHOLE)
    assert preset.genes.prepend == ("<cls>",)
    assert preset.value.target_sum == 1e4


WRONG = [
    # keys: every table
    ("stores =", "store =", "mine.toml: unknown key 'store': did you mean 'stores'?"),
    ("context_length", "contextlength", "mine.toml: unknown key 'contextlength': did you mean 'context_length'?"),
    ("[vocab]", "[vocabulary]", "mine.toml: unknown key 'vocabulary': did you mean 'vocab'?"),
    ("mask =", "masks =", "mine.toml: vocab: unknown key 'masks': did you mean 'mask'?"),
    ("cut =", "cuts =", "mine.toml: genes: unknown key 'cuts': did you mean 'cut'?"),
    ("n_bins", "nbins", "mine.toml: value: unknown key 'nbins': did you mean 'n_bins'?"),
    ("ties =", "qqqq =", "mine.toml: value: unknown key 'qqqq': Known: kind, total,"),
    # keys that must be there
    ('description = "d"', "", "mine.toml: key 'description' is missing"),
    ('stores = "counts"', "", "mine.toml: key 'stores' is missing"),
    ('kind = "rank"', "", "mine.toml: value: key 'kind' is missing"),
    # values
    ('"counts"', '"count"', "mine.toml: stores = 'count': did you mean 'counts'?"),
    ('"rank"', '"ranks"', "mine.toml: value: kind = 'ranks': did you mean 'rank'?"),
    ('"upper"', '"uper"', "mine.toml: value: ties = 'uper': did you mean 'upper'?"),
    ('"expressed"', '"ful"', "mine.toml: genes: choice = 'ful': did you mean 'full'?"),
    ("append = []", 'flavor = "seurat_v2"', "mine.toml: genes: flavor = 'seurat_v2': did you mean 'seurat_v3'?"),
    ("append = []", 'fill = "unexpresed"', "mine.toml: genes: fill = 'unexpresed': did you mean 'unexpressed'?"),
    ("append = []", 'order = "falling"', "mine.toml: genes: order = 'falling': "),
    ("append = []", "n = 0", "mine.toml: genes: n = 0: at least 1 gene"),
    ("append = []", "zeros = true", 'mine.toml: genes: zeros = true is for choice = "hvg"'),
    ('choice = "expressed"', 'choice = "full"\nfill = "unexpressed"', "cells have all their zeros already"),
    (
        'choice = "expressed"',
        'choice = "hvg"\nzeros = true\nfill = "unexpressed"',
        "cells have all their zeros already",
    ),
    ('cut = "first"', 'cut = "last"', "mine.toml: genes: cut = 'last': "),
    ("1e4", "0", "mine.toml: value: target_sum = 0.0: must be above 0"),
    ("1e4", "-1.5", "target_sum = -1.5: must be above 0"),
    ("1e4", "nan", "target_sum = nan"),
    ("1e4", "inf", "target_sum = inf"),
    ("= 51", "= 2", "mine.toml: value: n_bins = 2: at least 3"),
    ("= 51", "= 40000", "n_bins = 40000: at least 3 (zero and two more), at most 32767"),
    ("= 10", "= 1", "mine.toml: context_length = 1: must be above 1, the special tokens"),
    ("= 10", "= -5", "context_length = -5"),
    ('pad = "<pad>"', 'pad = "<pda>"', "mine.toml: vocab: pad = '<pda>': did you mean '<pad>'?"),
    ('mask = "<cls>"', 'mask = "<mask>"', "mine.toml: vocab: mask = '<mask>'"),
    ('prepend = ["<cls>"]', 'prepend = ["<csl>"]', "'<csl>': did you mean '<cls>'?"),
    ("append = []", 'append = ["<eos>"]', "mine.toml: genes.prepend / genes.append = '<eos>'"),
    ('["<pad>", "<cls>"]', '["<pad>", "<cls>", "<pad>"]', "mine.toml: vocab: special = "),
    ('kind = "rank"', 'kind = "counts"\nmedians = "m.json"', 'medians with kind = "counts"'),
    ('kind = "rank"', 'kind = "rank"\nclip = 3', 'clip with kind = "rank": it is for kind = "counts"'),
    ('kind = "rank"', 'kind = "rank"\nscale = 3', 'scale with kind = "rank": it is for kind = "counts"'),
    ('kind = "rank"', 'kind = "rank"\nedges = [1.0]', 'edges with kind = "rank": it is for kind = "edges"'),
    (
        'kind = "rank"',
        'kind = "rank"\nlevel_starts = [1]',
        'level_starts with kind = "rank": it is for kind = "levels"',
    ),
    ('kind = "rank"', 'kind = "rank"\nlevel_steps = [1]', 'level_steps with kind = "rank": it is for kind = "levels"'),
    ('kind = "rank"', 'kind = "counts"\nclip = 0', "clip = 0: at least 1"),
    ('kind = "rank"', 'kind = "counts"\nscale = 0', "scale = 0.0: must be above 0 and finite"),
    ('kind = "rank"', 'kind = "edges"\nedges = [1, 1]', "edges = [1.0, 1.0]: must rise"),
    ('kind = "rank"', 'kind = "edges"\nedges = [2, 1]', "must rise"),
    ('kind = "rank"', 'kind = "depth_edges"\nstrata = 0\nmin_cells = 7', "strata = 0, min_cells = 7: from 1 to 256"),
    ('kind = "rank"', 'kind = "depth_edges"\nstrata = 257', "strata = 257"),
    ('kind = "rank"', 'kind = "depth_edges"\nmin_cells = 0', "min_cells = 0"),
    (
        'kind = "rank"',
        'kind = "levels"',
        "level_starts = [], level_steps = []: starts rise from 0, one more than steps",
    ),
    ('kind = "rank"', 'kind = "levels"\nlevel_starts = [0, 9]\nlevel_steps = []', "starts rise from 0"),
    ('kind = "rank"', 'kind = "levels"\nlevel_starts = [1, 9]\nlevel_steps = [1]', "starts rise from 0"),
    ('kind = "rank"', 'kind = "levels"\nlevel_starts = [0, 9, 9]\nlevel_steps = [1, 1]', "starts rise from 0"),
    ('kind = "rank"', 'kind = "levels"\nlevel_starts = [0, 9]\nlevel_steps = [0]', "starts rise from 0"),
    (
        'kind = "rank"',
        'kind = "levels"\nlevel_starts = [0, 9]\nlevel_steps = [2]',
        "each must divide its stretch of [0, 9]",
    ),
    # types
    ('"d"', "3", "mine.toml: description: expected str, found 3 (int)"),
    ("= 10", "= 10.5", "mine.toml: context_length: expected int, found 10.5 (float)"),
    ("= 10", "= true", "mine.toml: context_length: expected int, found True (bool)"),
    ("= 51", '= "51"', "mine.toml: value: n_bins: expected int, found '51' (str)"),
    ('prepend = ["<cls>"]', 'prepend = "<cls>"', "mine.toml: genes: prepend: expected a list of strings"),
    ("[vocab]", "vocab = 1\n[x]", "mine.toml: "),
    ("[vocab]", "assets = [3]\n[vocab]", "mine.toml: assets[0]: expected a table, found int"),
    ("[vocab]", 'assets = "x"\n[vocab]', "mine.toml: assets: expected a list, found 'x'"),
    ('kind = "rank"', 'kind = "edges"\nedges = ["1"]', "mine.toml: value: edges[0]: expected float, found '1' (str)"),
]

# whole tables that follow the others
TABLES = [
    ("[mask]", "mask: key 'fraction' is missing"),
    ("[mask]\nfraction = 0", "mask: fraction = 0.0: between 0 and 1"),
    ("[mask]\nfraction = 1.0", "mask: fraction = 1.0: between 0 and 1"),
    ('[aux]\ncolumn = "assay"', "aux: key 'ids' is missing"),
    ('[aux]\ncolum = "assay"', "aux: unknown key 'colum': did you mean 'column'?"),
    ('[depth]\nkind = "log2"', "depth: kind = 'log2': did you mean 'log10'?"),
    ('[depth]\ntokens = ["targt"]', "depth: tokens = 'targt': did you mean 'target'?"),
    ('[depth]\ntokens = ["source", "source"]', "depth: tokens = ['source', 'source']: each once"),
    ('[depth]\nkind = "stratum"\ntokens = ["target"]', 'and only "source" with kind = "stratum"'),
    ('[depth]\ntarget = "4"', "depth: target = '4': t, f or a and a number"),
    ('[depth]\ntarget = "t-4"', "depth: target = 't-4'"),
    ('[depth]\ntarget = "f"', "depth: target = 'f'"),
    ("[depth.thin]\np = 1.5", "depth: thin: p = 1.5: a share from 0 to 1"),
    ("[depth.thin]\nalpha = 0", "depth: thin: alpha = 0, beta = 2: whole numbers from 1 to 64"),
    ("[depth.thin]\nbeta = 65", "depth: thin: alpha = 2, beta = 65"),
    ("[depth.thin]\nalpha = 1.5", "depth: thin: alpha: expected int, found 1.5 (float)"),
    ("[depth.thin]\nmin_counts = -1", "depth: thin: min_counts = -1: at least 0"),
    ('[[assets]]\nurl = "https://x"', "assets[0]: key 'name' is missing"),
    ('[[assets]]\nname = "x"\nformat = "yaml"', "assets[0]: format = 'yaml': "),
    (
        '[[assets]]\nname = "x"\nurl = "https://x/y"',
        "assets: x has a url and no sha256 of 64 hex digits, which is its pin",
    ),
    (f'[[assets]]\nname = "x"\nurl = "https://x/y"\nsha256 = "{"A" * 64}"', "no sha256 of 64 hex digits"),
    (f'[[assets]]\nname = "x"\nurl = "http://x/y"\nsha256 = "{"a" * 64}"', "url of x: only https:// is read"),
    ('[[assets]]\nname = "/x"', "assets: name = '/x': a path inside the assets folder"),
    ('[[assets]]\nname = "a/../../x"', "a path inside the assets folder"),
    ('[[assets]]\nname = "x"\nbytes = "3"', "assets[0]: bytes: expected int, found '3' (str)"),
]


@pytest.mark.parametrize(("table", "message"), TABLES, ids=[message for _, message in TABLES])
def test_a_wrong_table_names_the_file_and_the_key(tmp_path, table, message):
    with pytest.raises(PresetError) as raised:
        load(tmp_path, f"{WHOLE}{table}\n")
    assert str(raised.value).startswith("mine.toml: ")
    assert message in str(raised.value)


@pytest.mark.parametrize(("old", "new", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_a_wrong_key_or_value_names_the_file_and_the_key(tmp_path, old, new, message):
    assert WHOLE.count(old) >= 1
    with pytest.raises(PresetError) as raised:
        load(tmp_path, WHOLE.replace(old, new, 1))
    assert message in str(raised.value)


RANDOM = r"that is made at stream time; store counts"
RULES = [
    ('stores = "tokens"\n[genes]\ncut = "random"\n[value]\nkind = "rank"', rf'genes\.cut = "random": {RANDOM}'),
    ('stores = "tokens"\n[genes]\ncut = "weighted"\n[value]\nkind = "counts"', rf'genes\.cut = "weighted": {RANDOM}'),
    ('stores = "tokens"\n[genes]\norder = "random"\n[value]\nkind = "counts"', rf'genes\.order = "random": {RANDOM}'),
    ('stores = "tokens"\n[genes]\nchoice = "full"\n[value]\nkind = "counts"', rf"zeros: {RANDOM}"),
    (
        'stores = "tokens"\ncontext_length = 9\n[genes]\nfill = "unexpressed"\n[value]\nkind = "counts"',
        rf'genes\.fill = "unexpressed": {RANDOM}',
    ),
    ('stores = "tokens"\n[value]\nkind = "quantile"\nties = "random"', rf'value\.ties = "random": {RANDOM}'),
    ('stores = "tokens"\n[value]\nkind = "lognorm"\ntotal = "vocab"\n[depth.thin]', rf"depth\.thin: {RANDOM}"),
    ('stores = "counts"\n[genes]\ncut = "top"\n[value]\nkind = "counts"', 'only kind = "rank" has a ranking'),
    ('stores = "counts"\n[genes]\nfill = "unexpressed"\n[value]\nkind = "counts"', "up to which context_length"),
    ('stores = "counts"\n[genes]\nchoice = "full"\n[value]\nkind = "rank"', "are not for ranks"),
    ('stores = "counts"\n[genes]\norder = "descending"\n[value]\nkind = "rank"', "are not for ranks"),
    ('stores = "counts"\n[value]\nkind = "rank"\nmask = 1\n[mask]\nfraction = 0.5', "are not for ranks"),
    (
        'stores = "counts"\n[value]\nkind = "counts"\n[mask]\nfraction = 0.5',
        r"\[mask\] hides values: .*Add value\.mask",
    ),
    ('stores = "counts"\n[value]\nkind = "counts"\n[depth.thin]', r'it needs value\.total = "vocab"'),
    (
        'stores = "counts"\n[value]\nkind = "edges"\n[depth]\nkind = "stratum"\ntokens = ["source"]',
        r'only value\.kind = "depth_edges" has strata',
    ),
    ('stores = "counts"\n[value]\nkind = "lognorm"\n[depth]\ntokens = ["target"]', "vocab.special needs '<T>' for it"),
    ('stores = "counts"\n[value]\nkind = "lognorm"\n[depth]\ntokens = ["source"]', "vocab.special needs '<S>' for it"),
    (
        'stores = "counts"\n[vocab]\nspecial = ["<S>"]\n[value]\nkind = "counts"\n[depth]\ntokens = ["source"]',
        r'they need value\.kind = "lognorm"',
    ),
]


@pytest.mark.parametrize(("text", "message"), RULES)
def test_what_does_not_go_together(tmp_path, text, message):
    with pytest.raises(PresetError, match=message):
        load(tmp_path, f'description = "d"\n{text}\n')


def test_files_that_are_no_toml(tmp_path):
    with pytest.raises(PresetError, match=r"mine.toml: not a TOML file"):
        load(tmp_path, "stores = ")
    path = tmp_path / "bytes.toml"
    path.write_bytes(b"\xff\xfe = 1")
    with pytest.raises(PresetError, match=r"bytes.toml: not a TOML file"):
        load_preset(str(path))


def test_presets_that_are_not_there(tmp_path):
    with pytest.raises(PresetError, match=r"unknown preset 'geneformer': did you mean 'geneformer-v\d'\?.*\.toml file"):
        load_tokenizer("geneformer")
    with pytest.raises(PresetError, match=r"preset file .*none.toml does not exist"):
        load_preset(str(tmp_path / "none.toml"))
    with pytest.raises(PresetError, match="unknown preset"):
        load_preset("../presets/counts")


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_preset_of_ones_own_is_the_same_file_under_another_name(tmp_path, name):
    path = tmp_path / "my-model.toml"
    path.write_text(preset_path(name).read_text())
    assert preset_path(name).parent == resource("tokenizers/presets")
    tokenizer = load_tokenizer(str(path), "fit")
    assert tokenizer.preset == load_preset(name)
    assert tokenizer.name == ("my-model.toml+fit" if SHIPPED[name][3] else "my-model.toml")


# -- extends ------------------------------------------------------------------


def test_own_keys_win_and_the_others_are_those_of_the_preset_extended(tmp_path):
    preset = load(tmp_path, 'extends = "scgpt"\ncontext_length = 600\n[value]\nties = "random"\n')
    scgpt = load_preset("scgpt")
    assert (preset.context_length, preset.value.ties) == (600, "random")
    value = dataclasses.replace(scgpt.value, ties="random")
    assert preset == dataclasses.replace(scgpt, context_length=600, value=value)


def test_tables_are_joined_key_by_key_and_lists_are_replaced(tmp_path):
    preset = load(tmp_path, 'extends = "scfoundation"\n[depth]\ntokens = ["source"]\n[depth.thin]\np = 0.25\n')
    base = load_preset("scfoundation")
    assert preset.depth.tokens == ("source",)
    assert preset.depth.thin == dataclasses.replace(base.depth.thin, p=0.25)
    assert preset.depth.target == base.depth.target
    entry = '[[assets]]\nname = "scgpt/default_census_vocab.json"\n'
    assert [asset.url for asset in load(tmp_path, f'extends = "scgpt"\n{entry}').assets] == [None]


def test_it_extends_in_steps(tmp_path, monkeypatch):
    steps(tmp_path, monkeypatch, a='extends = "b"\ncontext_length = 5', b='extends = "c"\ndescription = "b"', c=PLAIN)
    preset = load_preset("a")
    assert (preset.context_length, preset.description, preset.stores) == (5, "b", "counts")


PLAIN = 'description = "c"\nstores = "counts"\n[value]\nkind = "counts"\n'


def steps(tmp_path, monkeypatch, **presets):
    for name, text in presets.items():
        (tmp_path / f"{name}.toml").write_text(text + "\n")
    monkeypatch.setattr("scdata.tokens.preset.resource", lambda _: tmp_path)


@pytest.mark.parametrize(
    ("presets", "message"),
    [
        ({"a": 'extends = "a"'}, r"a\.toml: extends = 'a', which extends it in turn"),
        ({"a": 'extends = "b"', "b": 'extends = "a"'}, r"\.toml: extends = '[ab]', which extends it in turn"),
        ({"a": 'extends = "c"\nstors = 1', "c": PLAIN}, r"a\.toml: unknown key 'stors': did you mean 'stores'\?"),
        ({"a": 'extends = "c"\nvalue = 3', "c": PLAIN}, r"a\.toml: value: expected a table, found int"),
        ({"a": 'extends = "c"', "c": "x = "}, r"c\.toml: not a TOML file"),
    ],
)
def test_extending_what_cannot_be(tmp_path, monkeypatch, presets, message):
    steps(tmp_path, monkeypatch, **presets)
    with pytest.raises(PresetError, match=message):
        load_preset("a")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('"geneformer"', r"mine\.toml: extends = 'geneformer': did you mean 'geneformer-v\d'\?"),
        ('"mine.toml"', r"mine\.toml: extends = 'mine\.toml': "),
        ("3", "mine.toml: extends = 3: "),
        ('["scgpt"]', r"mine\.toml: extends = \['scgpt'\]: "),
    ],
)
def test_only_presets_that_come_along_can_be_extended(tmp_path, given, message):
    with pytest.raises(PresetError, match=message):
        load(tmp_path, f"extends = {given}\n")


def test_what_does_not_go_together_is_found_after_joining(tmp_path):
    with pytest.raises(PresetError, match=r'mine\.toml: stores = "tokens" with genes\.cut = "random"'):
        load(tmp_path, 'extends = "scgpt"\nstores = "tokens"\n')
