"""The tables of a preset file but `ValueTable`: vocabulary, gene choice, read depth, masks, and the files they need."""

import re
from dataclasses import dataclass

from scdata._config import nearest

CHOICES = ("expressed", "full", "hvg")
FLAVORS = ("seurat_v3", "seurat")


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a word that is not known, naming the nearest that is."""
    if value not in known:
        raise ValueError(f"{name} = {value!r}: {nearest(value, known)}")


@dataclass(frozen=True, kw_only=True)
class AssetTable:
    """``[[assets]]``: a published file that the preset needs, and where it comes from.

    Parameters
    ----------
    name
        Path inside a folder of assets, as the other tables name it.
    url, sha256, bytes
        Where the original file is, and what it is known by; no url: it is not public, and comes by
        ``scdata tokenizers import``.
    content_sha256
        What its table is known by in any form, JSON made of a pickle among them: sha256 of it as one JSON object, names
        sorted, no spaces, whole numbers without a point.
    format
        What the original is: ``json``, ``tsv``, or ``pickle`` (kept as JSON).
    """

    name: str
    url: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    content_sha256: str | None = None
    format: str = "json"

    def __post_init__(self) -> None:
        one_of("format", self.format, ("json", "tsv", "pickle"))
        if self.content_sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.content_sha256):
            raise ValueError(f"assets: content_sha256 of {self.name}: expected 64 hex digits")
        if self.url is not None and (self.sha256 is None or not re.fullmatch(r"[0-9a-f]{64}", self.sha256)):
            raise ValueError(f"assets: {self.name} has a url and no sha256 of 64 hex digits, which is its pin")
        if self.url is not None and not self.url.startswith("https://"):
            raise ValueError(f"assets: url of {self.name}: only https:// is read")
        if self.name.startswith("/") or ".." in self.name.split("/"):
            raise ValueError(f"assets: name = {self.name!r}: a path inside the assets folder")


@dataclass(frozen=True, kw_only=True)
class VocabTable:
    """``[vocab]``: the genes and special tokens that have ids.

    Parameters
    ----------
    genes
        File of the published vocabulary inside a folder of assets; None: the source's own genes.
    ids
        What the published vocabulary calls genes by, for messages.
    species
        Prefix of the Ensembl gene ids of the species it is for (``ENSG``: human); None: any. Genes of another species, which
        may have the same symbols, are refused.
    aliases
        File with other names of its genes.
    special
        Special tokens. Those that the file does not hold follow its genes; a vocabulary of the source's own genes begins
        with them.
    pad, mask
        Which of them pads a batch, and which hides a token.
    fixed
        Dense batches have a column for every gene of the vocabulary, also for those that the set lacks.
    """

    genes: str | None = None
    ids: str = "ids"
    species: str | None = None
    aliases: str | None = None
    special: tuple[str, ...] = ()
    pad: str | None = None
    mask: str | None = None
    fixed: bool = False

    def __post_init__(self) -> None:
        if len(set(self.special)) != len(self.special):
            raise ValueError(f"special = {list(self.special)}: a token stands there twice")
        for name, token in (("pad", self.pad), ("mask", self.mask)):
            if token is not None:
                one_of(name, token, self.special)


@dataclass(frozen=True, kw_only=True)
class GenesTable:
    """``[genes]``: which genes of a cell become tokens, in which order, and what stands around them.

    Parameters
    ----------
    choice
        ``expressed``: genes with a count; ``full``: every gene of the vocabulary that was measured, zeros included;
        ``hvg``: the `n` most variable genes of the corpus.
    n, flavor, batch_key
        hvg: how many, by which method (``seurat_v3``, ``seurat``), and the obs column of batches, if any.
    zeros
        hvg: also those without a count.
    cut
        Which genes stay of a cell with more than the context holds: the ``first``; a ``random`` subset or one ``weighted``
        by counts (both new in every epoch, at stream time only); or the ``top`` ones of a ranking.
    fill
        ``unexpressed``: shorter cells get random genes that were measured and not found, with value 0, up to the context.
    order
        ``stored``: as the shards have them (token ids or ranks ascending; counts by how often a gene is detected);
        ``descending``: by value; ``random``: new in every epoch.
    prepend, append
        Special tokens before and after the genes.
    """

    choice: str = "expressed"
    n: int = 2000
    flavor: str = "seurat_v3"
    batch_key: str | None = None
    zeros: bool = False
    cut: str = "first"
    fill: str = "none"
    order: str = "stored"
    prepend: tuple[str, ...] = ()
    append: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of("choice", self.choice, CHOICES)
        one_of("flavor", self.flavor, FLAVORS)
        one_of("cut", self.cut, ("first", "random", "weighted", "top"))
        one_of("fill", self.fill, ("none", "unexpressed"))
        one_of("order", self.order, ("stored", "descending", "random"))
        if self.n < 1:
            raise ValueError(f"n = {self.n}: at least 1 gene")
        if self.zeros and self.choice != "hvg":
            raise ValueError('zeros = true is for choice = "hvg": "full" has them, "expressed" has none')
        if self.fill != "none" and self.with_zeros:
            raise ValueError(f'fill = "{self.fill}": cells have all their zeros already')

    @property
    def with_zeros(self) -> bool:
        """True if genes without a count are tokens too."""
        return self.choice == "full" or self.zeros


@dataclass(frozen=True, kw_only=True)
class ThinTable:
    """``[depth.thin]``: binomial thinning of raw counts at stream time, before all else; the unthinned cell is the target.

    Parameters
    ----------
    p
        Share of the cells that are thinned.
    alpha, beta
        The share of molecules that stay is drawn from Beta(alpha, beta): whole numbers, so that every machine draws alike.
    min_counts
        Only cells with more counts than this are thinned.
    """

    p: float = 0.5
    alpha: int = 2
    beta: int = 2
    min_counts: int = 1000

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"p = {self.p}: a share from 0 to 1")
        if not (1 <= self.alpha <= 64 and 1 <= self.beta <= 64):
            raise ValueError(f"alpha = {self.alpha}, beta = {self.beta}: whole numbers from 1 to 64")
        if self.min_counts < 0:
            raise ValueError(f"min_counts = {self.min_counts}: at least 0")


@dataclass(frozen=True, kw_only=True)
class DepthKeys:
    """``[depth]``: what a cell's read depth adds to its tokens.

    Parameters
    ----------
    tokens
        Which depths stand after the genes: ``target`` and ``source``, in this order.
    kind
        ``log10``: special tokens ``<T>`` and ``<S>`` whose values are log10 of totals; ``stratum``: one of the special
        tokens ``<depth:0>`` … for the stratum of ``depth_edges`` that the cell is in (source only).
    target
        Target depth T: ``tK`` is K; ``fK`` log10(n·K); ``aK`` log10(n) + K. n is the total of the unthinned cell.
    thin
        Thinning; None: none.
    """

    tokens: tuple[str, ...] = ()
    kind: str = "log10"
    target: str = "f1"
    thin: ThinTable | None = None

    def __post_init__(self) -> None:
        one_of("kind", self.kind, ("log10", "stratum"))
        for token in self.tokens:
            one_of("tokens", token, ("target", "source"))
        if len(set(self.tokens)) != len(self.tokens) or (self.kind == "stratum" and "target" in self.tokens):
            raise ValueError(f'tokens = {list(self.tokens)}: each once, and only "source" with kind = "stratum"')
        if not re.fullmatch(r"[tfa]\d+(\.\d+)?", self.target):
            raise ValueError(f"target = {self.target!r}: t, f or a and a number, such as t4, f1, a0.5")
        number = float(self.target[1:])
        if number > 1e18 or (self.target[0] == "f" and number == 0):
            raise ValueError(f"target = {self.target!r}: a number up to 1e18, and not f0")


@dataclass(frozen=True, kw_only=True)
class MaskTable:
    """``[mask]``: a second view of every cell with some values hidden, from the same draw.

    Parameters
    ----------
    fraction
        Chance of each gene to be hidden, new in every epoch; special tokens never are.
    """

    fraction: float

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise ValueError(f"fraction = {self.fraction}: between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class AuxTable:
    """``[aux]``: an id for each cell from an obs column, of a vocabulary of its own.

    Parameters
    ----------
    column
        obs column.
    ids
        File of id by name.
    unknown
        The name for everything that the file does not have.
    """

    column: str
    ids: str
    unknown: str = "unknown"
