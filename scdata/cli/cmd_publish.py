"""``scdata publish``."""

import dataclasses
import time
from pathlib import Path

import click

from scdata.build.progress import Progress
from scdata.cli.events import error_event
from scdata.cli.main import print_json, progress_mode
from scdata.hub.publish import Published, publish


@click.command(name="publish", short_help="Put a set on the Hugging Face Hub.")
@click.argument("path", metavar="SET")
@click.argument("repo_id", metavar="USER/NAME")
@click.option("--private", is_flag=True, help="Make a private repository, if there is none yet.")
@click.option(
    "--branch", default="main", show_default=True, help="The branch that is to hold the set; made if need be."
)
@click.option(
    "--card",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A card of your own, such as that of `scdata card SET` with a licence.  [default: that of `scdata card`]",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Change nothing: say how many files, bytes and commits it would be. Without the Hub, as if nothing were there.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of text.")
def command(
    path: str, repo_id: str, private: bool, branch: str, card: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Put a set on the Hugging Face Hub as a dataset, with a card and a preview for the Hub's viewer. Readers see the whole
    set or nothing of it, also while it takes the place of another one. Files that are there are not uploaded again; when it
    was stopped, the same command goes on.

    The token is the one of `hf auth login`, or HF_TOKEN in the environment.

    With --dry-run the status is 0 also if the Hub cannot be reached: the plan, which says so ("asked": false with --json), is
    then as if nothing were there.

    \b
    Example:
      scdata build synthetic:cells=2000 -o /tmp/try.set
      scdata card /tmp/try.set
      scdata publish /tmp/try.set you/try --private --dry-run
      scdata publish /tmp/try.set you/try --private
    """
    begin = time.monotonic()
    with error_event(as_json):
        text = None if card is None else card.read_text(encoding="utf-8")
        done = publish(
            path,
            repo_id,
            private=private,
            branch=branch,
            card=text,
            dry_run=dry_run,
            progress=Progress(progress_mode(as_json)),
        )
    if as_json:
        seconds = round(time.monotonic() - begin, 3)
        print_json({"event": "plan" if dry_run else "done", **dataclasses.asdict(done), "seconds": seconds})
    else:
        _print(done, dry_run)


def _print(done: Published, dry_run: bool) -> None:
    what = ("to upload" if done.asked else "to upload, if nothing is there yet") if dry_run else "uploaded"
    click.echo(
        f"{done.repo_id}, branch {done.branch}: {done.n_files:,} files, {done.n_bytes / 1e6:,.1f} MB; "
        f"{what}: {done.n_files_new:,} files, {done.n_bytes_new / 1e6:,.1f} MB, "
        f"in {done.n_commits:,} commit(s)"
    )
    if done.n_files_stale:
        click.echo(f"  {done.n_files_stale:,} files of another set {'would be' if dry_run else 'were'} deleted")
    if not dry_run:
        click.echo(f'  scdata.ShardDataset("hf://datasets/{done.repo_id}@{done.tag}")')
