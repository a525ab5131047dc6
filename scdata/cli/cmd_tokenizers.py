"""``scdata tokenizers list | show | fetch | import``."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from scdata._config import to_table
from scdata._errors import AssetsError
from scdata.build.progress import Progress
from scdata.cli.main import print_json
from scdata.tokens.loading import load_tokenizer
from scdata.tokens.preset import load_preset, preset_names, preset_path
from scdata.tokens.published.assets import AssetState, commands, files_of, states_of
from scdata.tokens.published.cache import cache_folder
from scdata.tokens.published.fetch import fetch_assets
from scdata.tokens.published.importing import import_assets

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


@click.group(name="tokenizers", short_help="List, show, fetch and import tokenizer presets.")
def command() -> None:
    """Tokenizer presets: what each published model does, as data.

    Vocabularies and medians of published models are files of their authors and do not come along. `fetch` downloads them,
    `import` takes files that you have; both keep them in the cache: tokenizers/ in $SCDATA_CACHE, else in
    $XDG_CACHE_HOME/scdata or ~/.cache/scdata. A build then finds them there. `--assets DIR` reads a folder instead, and
    `--assets fit` does without them: the source's own genes, whose token ids are not the published ones.

    \b
    Example:
      scdata tokenizers list
      scdata tokenizers show geneformer-v2
      scdata tokenizers fetch geneformer-v2
      scdata build pbmc.h5ad -o ranks.set --tokenizer geneformer-v2
    """


@command.command(name="list")
@_JSON
def list_(as_json: bool) -> None:
    """List the presets that come with scdata, and whether their published files are in the cache.

    \b
    Example:
      scdata tokenizers list
    """
    presets = {name: (load_preset(name), states_of(load_preset(name))) for name in preset_names()}
    if as_json:
        print_json(
            {
                name: {"description": preset.description, "stores": preset.stores, "assets": _assets_table(states)}
                for name, (preset, states) in presets.items()
            }
        )
        return
    for name, (preset, states) in presets.items():
        click.echo(f"{name:<16} {preset.description}\n{'':<16} stores {preset.stores}; {_said(name, states)}")


def _assets_table(states: list[AssetState]) -> dict[str, Any]:
    return {
        "needed": bool(states),
        "cached": all(state.there for state in states),
        "files": {
            state.asset.name: {"cached": state.there, "pinned": state.pinned, "url": state.asset.url}
            for state in states
        },
    }


def _said(name: str, states: list[AssetState]) -> str:
    if not states:
        return "the source's genes"
    other = [state.asset.name for state in states if state.pinned is False]
    doubt = f" (not as published: {', '.join(other)})" if other else ""
    missing = [state.asset.name for state in states if not state.there]
    if not missing:
        return f"published files, in the cache{doubt}"
    n_here = len(states) - len(missing)
    here = f"{n_here} of {len(states)} in the cache{doubt}, not {', '.join(missing)}" if n_here else "not here"
    return f"published files, {here}: {commands(name, load_preset(name), missing)}"


@command.command(name="show")
@click.argument("name")
@click.option(
    "--json", "as_json", is_flag=True, help="The resolved preset, with what it takes over, as one JSON object."
)
def show(name: str, as_json: bool) -> None:
    """Print a preset, by name or path: its file, with the sources and differences in its comments.

    A preset of your own is such a file with the keys you change, and `extends = "NAME"` for the others; --json shows what
    comes out.

    \b
    Example:
      scdata tokenizers show scgpt
      scdata tokenizers show scgpt --json
    """
    preset = load_preset(name)
    if as_json:
        print_json(to_table(preset))
    else:
        click.echo(preset_path(name).read_text(encoding="utf-8").rstrip())


@command.command(name="fetch")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Also files that are in the cache, or came from elsewhere.")
@_JSON
def fetch(names: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Download the published files of presets into the cache.

    Each file's url, size and sha256 stand in the preset; nothing is read from a file of another sha256. Pickles are not
    run: a reader that knows only dictionaries of strings and numbers turns them into JSON.

    \b
    Example:
      scdata tokenizers fetch geneformer-v2 scgpt
    """
    progress = Progress("quiet" if as_json else "bars" if sys.stderr.isatty() else "lines")
    done: dict[str, dict[str, str]] = {}
    for name in names:
        for file, downloaded in fetch_assets(name, lambda file, size: progress.phase(file, size, "B"), force=force):
            done.setdefault(name, {})[file] = "fetched" if downloaded else "there"
            if not as_json:
                click.echo(f"{file}: {'fetched' if downloaded else 'there already'}")
    waiting = {name: missing for name in names if (missing := _missing(name))}
    if as_json:
        print_json({"cache": str(cache_folder()), "files": done, "missing": waiting})
    else:
        _say_ready(names)
    if waiting:
        raise AssetsError(
            "; ".join(f"{n} still lacks {', '.join(m)}: {commands(n, load_preset(n), m)}" for n, m in waiting.items())
        )


@command.command(name="import")
@click.argument("name")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--force", is_flag=True, help="Also files other than the published ones, and in place of others.")
@_JSON
def import_(name: str, files: tuple[Path, ...], force: bool, as_json: bool) -> None:
    """Put published files that you have into the cache.

    A file is known by its sha256, else by its name: the original (token_dictionary_gc104M.pkl), or JSON made of it
    (token_dictionary.json, .json.gz). Files that the preset does not need are skipped. One whose content is not that of the
    published file, or that would replace a file of other content, needs --force.

    The vocabulary of transcriptformer is not public: give one gene list a species, as HDF5 of embeddings, JSON, or text with
    one id a line. Genes are numbered after the special tokens, file by file, each once.

    \b
    Example:
      scdata tokenizers import geneformer-v2 token_dictionary_gc104M.pkl gene_median_dictionary_gc104M.pkl
      scdata tokenizers import transcriptformer homo_sapiens_gene.h5 mus_musculus_gene.h5
    """
    notes: list[str] = []
    made = import_assets(
        name, files, force=force, note=notes.append if as_json else lambda text: click.echo(text, err=True)
    )
    if as_json:
        files_made = {
            m.name: {"source": dict(m.source), "pinned": m.pinned, "entries": m.n_entries, "there": m.there}
            for m in made
        }
        print_json({"cache": str(cache_folder()), "files": files_made, "missing": _missing(name), "notes": notes})
        return
    for one in made:
        what = "there already" if one.there else f"{one.n_entries:,} entries from {', '.join(one.source)}"
        click.echo(f"{one.name}: {what}")
    if missing := _missing(name):
        click.echo(f"{name} still lacks {', '.join(missing)}: {commands(name, load_preset(name), missing)}")
    _say_ready((name,))


def _missing(name: str) -> list[str]:
    return [state.asset.name for state in states_of(load_preset(name)) if not state.there]


def _say_ready(names: tuple[str, ...]) -> None:
    """Load what is complete, so that files which do not fit together are known now."""
    for name in names:
        if not files_of(load_preset(name)):
            click.echo(f"{name} needs no published files")
        elif not _missing(name):
            vocab = load_tokenizer(name).vocab
            size = (
                f"{len(vocab.feature_ids):,} genes, {vocab.n_tokens:,} token ids"
                if vocab is not None
                else "its files are here"
            )
            click.echo(f"{shlex.quote(name)} is ready: {size}")
