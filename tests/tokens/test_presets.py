import pytest

from scdata import load_tokenizer
from scdata._errors import PresetError
from scdata.resources import resource
from scdata.tokens import load_preset, preset_names, preset_path

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


def test_the_presets_that_come_along():
    assert preset_names() == ["counts", "geneformer-v2", "scgpt"]
    scgpt, geneformer, counts = (load_preset(name) for name in ("scgpt", "geneformer-v2", "counts"))
    assert (scgpt.stores, scgpt.value.kind, scgpt.value.n_bins, scgpt.value.ties) == ("counts", "quantile", 51, "upper")
    assert (scgpt.context_length, scgpt.genes.cut, scgpt.value.pad) == (1200, "random", -2)
    assert (geneformer.stores, geneformer.value.kind, geneformer.context_length) == ("tokens", "rank", 4096)
    assert (counts.stores, counts.value.kind, counts.context_length) == ("counts", "counts", None)
    assert [preset.published for preset in (scgpt, geneformer, counts)] == [True, True, False]
    assert [preset.needs_medians for preset in (scgpt, geneformer, counts)] == [False, True, False]


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
    ('"expressed"', '"full"', "mine.toml: genes: choice = 'full': Known: expressed"),
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
    # types
    ('"d"', "3", "mine.toml: description: expected str, found 3 (int)"),
    ("= 10", "= 10.5", "mine.toml: context_length: expected int, found 10.5 (float)"),
    ("= 10", "= true", "mine.toml: context_length: expected int, found True (bool)"),
    ("= 51", '= "51"', "mine.toml: value: n_bins: expected int, found '51' (str)"),
    ('prepend = ["<cls>"]', 'prepend = "<cls>"', "mine.toml: genes: prepend: expected a list of strings"),
    ("[vocab]", "vocab = 1\n[x]", "mine.toml: "),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_a_wrong_key_or_value_names_the_file_and_the_key(tmp_path, old, new, message):
    assert WHOLE.count(old) >= 1
    with pytest.raises(PresetError) as raised:
        load(tmp_path, WHOLE.replace(old, new, 1))
    assert message in str(raised.value)


RULES = [
    ('stores = "tokens"\n[genes]\ncut = "random"\n[value]\nkind = "rank"', "a random cut is made at stream time"),
    ('stores = "tokens"\n[value]\nkind = "quantile"\nties = "random"', "random ties are drawn at stream time"),
    ('stores = "counts"\n[genes]\ncut = "top"\n[value]\nkind = "counts"', 'only kind = "rank" has a ranking'),
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
    with pytest.raises(PresetError, match=r"unknown preset 'geneformer': did you mean 'geneformer-v2'\?.*\.toml file"):
        load_tokenizer("geneformer")
    with pytest.raises(PresetError, match=r"preset file .*none.toml does not exist"):
        load_preset(str(tmp_path / "none.toml"))
    with pytest.raises(PresetError, match="unknown preset"):
        load_preset("../presets/counts")


@pytest.mark.parametrize("name", ["counts", "scgpt", "geneformer-v2"])
def test_a_preset_of_ones_own_is_the_same_file_under_another_name(tmp_path, name):
    path = tmp_path / "my-model.toml"
    path.write_text(preset_path(name).read_text())
    assert preset_path(name).parent == resource("tokenizers/presets")
    tokenizer = load_tokenizer(str(path), None if name == "counts" else "fit")
    assert tokenizer.preset == load_preset(name)
    assert tokenizer.name == ("my-model.toml" if name == "counts" else "my-model.toml+fit")
