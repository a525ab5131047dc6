"""Where a release of the CELLxGENE Census lies."""

from typing import Any

from scdata._errors import SourceError, StorageError
from scdata._optional import need
from scdata._storage import Storage

_SHOWN = 8  # releases that a message names
_INSTEAD = "name the store itself: census:s3://BUCKET/…/soma/ORGANISM, or census:/FOLDER/ORGANISM"


def find_release(release: str) -> tuple[str, str, Storage]:
    """The date of a release, which ``stable`` and ``latest`` stand for, too; its address, and how to reach it.

    Raises
    ------
    SourceError
        If there is no such release, or it was retracted.
    StorageError
        If the directory of releases cannot be read.
    """
    census = need("cellxgene_census", "look up releases of the CELLxGENE Census")
    try:
        directory = census.get_census_version_directory(retracted=None)
        mirrors = census.get_census_mirror_directory()
    except OSError as error:  # what requests raises
        raise StorageError(
            f"census:{release}: releases are looked up in the Census's directory, which cannot be read ({error}); without a "
            f"network, {_INSTEAD}; a folder here is written with a slash, as census:./{release}/ORGANISM"
        ) from error
    found = directory.get(release)
    if found is None:
        names = [name for name, own in directory.items() if not own.get("flags", {}).get("retracted")]
        more = f", … ({len(names)} in all)" if len(names) > _SHOWN else ""
        raise SourceError(
            f"census:{release}: no such release; there are {', '.join(names[:_SHOWN])}{more}; or {_INSTEAD}"
        )
    if found.get("flags", {}).get("retracted"):
        why = found.get("retraction") or {}
        raise SourceError(
            f"census:{release} was retracted ({why.get('reason') or 'no reason given'}); "
            f"use {why.get('replaced_by') or 'stable'}"
        )
    uri, region = _place(found["soma"], next(iter(mirrors.values()), {}))
    endpoint = f"https://s3.{region}.amazonaws.com" if region and uri.startswith("s3://") else None
    # not the endpoint of the environment, which is that of the user's own store
    return str(found["release_build"]), uri, Storage(endpoint=endpoint, region=region, anonymous=True)


def _place(locator: dict[str, Any], mirror: dict[str, Any]) -> tuple[str, str | None]:
    if locator.get("relative_uri") and mirror:
        uri = f"{mirror['base_uri'].rstrip('/')}/{locator['relative_uri'].lstrip('/')}"
        return uri.removeprefix("file://"), mirror.get("region")
    return locator["uri"].removeprefix("file://"), locator.get("s3_region")
