"""``scdata doctor``."""

from dataclasses import asdict
from pathlib import Path

import click

from scdata.cli.checkup import BAD, all_findings
from scdata.cli.main import print_json


@click.command(name="doctor", short_help="Check this machine: libraries, devices, disk, network.")
@click.option("--folder", default=".", show_default=True, help="Where sets are to be written.")
@click.option("--no-network", is_flag=True, help="Ask no server.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(folder: str, no_network: bool, as_json: bool) -> int:
    """Check what scdata needs of this machine, each with a remedy. Status 1 if something is broken; what is merely not
    there, such as a library that you may not want, is a note.

    \b
    Example:
      scdata doctor --no-network
    """
    findings = []
    for finding in all_findings(Path(folder), network=not no_network):
        findings.append(finding)
        if not as_json:
            click.echo(f"{finding.status:<5} {finding.name}: {finding.text}")
            if finding.remedy:
                click.echo(f"      → {finding.remedy}")
    broken = any(finding.status == BAD for finding in findings)
    if as_json:
        print_json({"ok": not broken, "findings": [asdict(finding) for finding in findings]})
    return 1 if broken else 0
