from pathlib import Path

import pytest
from hypothesis import settings

# how long an example takes says nothing here: kernels compile when they first run
settings.register_profile("scdata", deadline=None)
settings.load_profile("scdata")


@pytest.fixture(scope="session", autouse=True)
def _no_cache(tmp_path_factory):
    """Published files that somebody fetched on this machine are not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCDATA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder
