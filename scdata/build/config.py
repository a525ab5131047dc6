"""What a build is asked for."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scdata._config import to_table
from scdata._errors import MappingError
from scdata._storage import Storage, check_writable, is_remote, public_uri
from scdata.build.splits import SplitRules
from scdata.shard.block import CODECS
from scdata.source.place import name_of

# Keys that change where and how fast a set is made, not what is in it
_NOT_CONTENT = (
    "sources", "out", "endpoint", "region", "anonymous", "assets", "device", "scratch", "workers", "scheduler", "overwrite",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """Arguments of `build_shards`, which documents them."""

    sources: tuple[str, ...]
    out: str
    endpoint: str | None = None
    region: str | None = None
    anonymous: bool = False
    tokenizer: str = "counts"
    assets: str | None = None
    genes: str | None = None
    batch_key: str | None = None
    store: str | None = None
    layer: str | None = None
    measurement: str | None = None
    dataset_column: str | None = None
    organism: str | None = None
    feature_id: str | None = None
    min_mapped: float = 0.5
    orthologs: str | None = None
    orthologs_to: str | None = None
    many_to_one: bool = False
    obs_filter: str | None = None
    limit: int | None = None
    min_counts: int | None = None
    max_counts: int | None = None
    min_genes: int | None = None
    max_genes: int | None = None
    drop_duplicates: bool = False
    obs: tuple[str, ...] | None = None
    perturbation: str | None = None
    control: str | None = None
    control_match: tuple[str, ...] | None = None
    splits: tuple[str, ...] = ()
    seed: int = 0
    workers: int = 1
    scheduler: str = "local"
    shard_size: int = 256 << 20
    block_size: int = 1024
    codec: str = "zstd"
    device: str = "auto"
    scratch: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("no source given: name an h5ad file, a SOMA experiment, or several")
        check_writable(self.out)
        if any(_same_place(source, self.out) for source in self.sources):
            raise ValueError(f"{public_uri(self.out)} is both a source and the output: name another output with -o")
        if self.scratch is not None:
            check_writable(self.scratch)
        if self.codec not in CODECS:
            raise ValueError(f"codec {self.codec!r}: one of {', '.join(CODECS)}")
        if not 0 <= self.min_mapped <= 1:
            raise ValueError(f"min_mapped = {self.min_mapped}: a fraction from 0 to 1")
        if not 1 <= self.block_size <= 65536:
            raise ValueError(f"block_size = {self.block_size}: from 1 to 65536 cells")
        if self.shard_size < 1 << 16:
            raise ValueError(f"shard_size = {self.shard_size} bytes: at least 65536")
        if not 1 <= self.workers <= 1024:
            raise ValueError(f"workers = {self.workers}: from 1 to 1024")
        if self.scheduler != "local" and not re.fullmatch(r"(tcp|tls)://[^\s/]+:\d+", self.scheduler):
            raise ValueError(
                f"scheduler = {self.scheduler!r}: local, or the address of a Dask scheduler, tcp://HOST:PORT"
            )
        if self.store not in (None, "counts", "tokens"):
            raise ValueError(f"store = {self.store!r}: counts or tokens")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device = {self.device!r}: auto, cpu or cuda")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit = {self.limit}: at least 1 cell")
        for what in ("counts", "genes"):
            low, high = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if (low or 0) < 0 or (high is not None and high < (low or 0)):
                raise ValueError(f"min_{what} = {low}, max_{what} = {high}: from 0 on, the least not over the most")
        if (self.perturbation is None) != (self.control is None):
            given, other = ("control", "perturbation") if self.perturbation is None else ("perturbation", "control")
            raise ValueError(
                f"{given} = {getattr(self, given)!r} without {other}: name the obs column of perturbations and its value of "
                "controls"
            )
        if self.control_match is not None and self.perturbation is None:
            raise ValueError(
                f"control_match = {list(self.control_match)} without perturbation: there is nothing to match"
            )
        if self.orthologs is None and (self.orthologs_to is not None or self.many_to_one):
            option = "--many-to-one" if self.many_to_one else "--orthologs-to"
            raise ValueError(f"{option} says how genes are mapped by a table of orthologs: name one with --orthologs")
        self.gene_choice()
        SplitRules.parse(self.splits)

    def gene_choice(self) -> dict[str, Any]:
        """Keys of a preset's ``[genes]`` that `genes` overrides."""
        if self.genes is None:
            return {}
        match = re.fullmatch(r"full|expressed|hvg:([1-9]\d{0,8})(?::(\w+))?", self.genes)
        if not match:
            raise ValueError(f"genes = {self.genes!r}: full, expressed, hvg:N, or hvg:N:FLAVOR (seurat_v3, seurat)")
        if match.group(1) is None:
            return {"choice": self.genes}
        flavor = {"flavor": match.group(2)} if match.group(2) else {}
        return {"choice": "hvg", "n": int(match.group(1)), **flavor}

    @property
    def orthologs_name(self) -> str:
        """Of the table of orthologs, without folder; empty if there is none."""
        return name_of(self.orthologs) if self.orthologs is not None else ""

    def orthologs_bytes(self) -> bytes:
        """The table of orthologs that `orthologs` names.

        Raises
        ------
        MappingError
            If it is not there.
        """
        try:
            return self.storage.path(self.orthologs or "").read_bytes()
        except OSError as error:
            raise MappingError(f"--orthologs {self.orthologs}: cannot be read ({error})") from error

    def files_read(self) -> dict[str, str]:
        """sha256 of files beside sources and assets that decide what is in the set."""
        return {} if self.orthologs is None else {"orthologs": hashlib.sha256(self.orthologs_bytes()).hexdigest()}

    @property
    def storage(self) -> Storage:
        """How to reach what is not on this machine."""
        return Storage(endpoint=self.endpoint, region=self.region, anonymous=self.anonymous)

    @property
    def out_path(self) -> Path:
        return self.storage.path(self.out)

    @property
    def build_path(self) -> Path:
        """Folder of the plan and the lock, in the output until the set is complete."""
        return self.out_path / ".build"

    @property
    def scratch_path(self) -> Path:
        """Folder of the files between scatter and gather: of this output alone, so that it may be deleted."""
        if self.scratch is None:
            return self.build_path / "scratch"
        own = hashlib.sha256(str(self.out_path.resolve()).encode()).hexdigest()[:16]
        return self.storage.path(self.scratch) / f"scdata-{own}"

    def content(self) -> dict[str, Any]:
        """The keys that decide what is in the set: two builds with equal ones, and equal inputs, give equal bytes."""
        table = to_table(self)
        table["tokenizer"] = Path(self.tokenizer).name
        left_out = set(_NOT_CONTENT) - ({"assets"} if self.assets == "fit" else set())
        # as keys that are not given
        left_out |= {name for name in ("drop_duplicates", "many_to_one") if not getattr(self, name)}
        if self.orthologs is not None:
            table["orthologs"] = self.orthologs_name
        return {key: table[key] for key in sorted(table) if key not in left_out}


def _same_place(a: str, b: str) -> bool:
    if is_remote(a) or is_remote(b):
        return a.rstrip("/") == b.rstrip("/")
    return os.path.realpath(a) == os.path.realpath(b)
