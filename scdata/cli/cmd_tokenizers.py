"""``scdata tokenizers list | show``."""

import click

from scdata._config import to_table
from scdata.cli.main import print_json
from scdata.tokens.preset import load_preset, preset_names, preset_path


@click.group(name="tokenizers", short_help="List and show tokenizer presets.")
def command() -> None:
    """Tokenizer presets: what each published model does, as data.

    \b
    Example:
      scdata tokenizers list
      scdata tokenizers show geneformer-v2
    """


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def list_(as_json: bool) -> None:
    """List the presets that come with scdata.

    \b
    Example:
      scdata tokenizers list
    """
    presets = {name: load_preset(name) for name in preset_names()}
    if as_json:
        print_json({name: {"description": p.description, "stores": p.stores} for name, p in presets.items()})
        return
    for name, preset in presets.items():
        vocab = "published vocabulary (--assets)" if preset.published else "the source's genes"
        click.echo(f"{name:<16} {preset.description}\n{'':<16} stores {preset.stores}; {vocab}")


@command.command(name="show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="The resolved preset as one JSON object.")
def show(name: str, as_json: bool) -> None:
    """Print a preset, by name or path: its file, with the sources and differences in its comments.

    \b
    Example:
      scdata tokenizers show scgpt
    """
    preset = load_preset(name)
    if as_json:
        print_json(to_table(preset))
    else:
        click.echo(preset_path(name).read_text(encoding="utf-8").rstrip())
