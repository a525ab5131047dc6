import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.faulty_store import Fault, FaultyStore

# what tests read by tiledbsoma itself crashes now and then without (see scdata.source.soma_context)
os.environ["TILEDB_SM_QUERY_SPARSE_GLOBAL_ORDER_PREPROCESS_TILE_MERGE"] = "0"

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


@dataclass(frozen=True)
class S3:
    """An S3 server on loopback, a bucket of it, and a boto3 client for both."""

    endpoint: str
    bucket: str
    region: str
    client: Any

    def upload(self, folder: Path, prefix: str, **arguments: Any) -> str:
        """Put a folder's files, or one file, under a prefix; gives its address. `arguments` as ``put_object`` takes them."""
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()] if folder.is_dir() else [folder]
        for path in files:
            key = prefix if path == folder else f"{prefix}/{path.relative_to(folder).as_posix()}"
            self.client.put_object(Bucket=self.bucket, Key=key, Body=path.read_bytes(), **arguments)
        return f"s3://{self.bucket}/{prefix}"


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """An S3 server of its own process, to which the credentials in the environment belong until the session ends."""
    boto3 = pytest.importorskip("boto3")
    said = tmp_path_factory.mktemp("s3") / "log"
    names = [name for name in os.environ if name.startswith("AWS_")]
    # a process, because its server thread would not let this one end
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with pytest.MonkeyPatch.context() as patch, said.open("w") as log:
        for name in names:
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            end = time.monotonic() + 60
            while (found := re.search(r"Running on (http://\S+)\n", said.read_text())) is None:
                if server.poll() is not None or time.monotonic() > end:
                    pytest.fail(f"no S3 server: {said.read_text()}")
                time.sleep(0.05)
            client = boto3.client("s3", endpoint_url=found.group(1), region_name="eu-west-1")
            client.create_bucket(Bucket="cells", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
            yield S3(found.group(1), "cells", "eu-west-1", client)
            client.close()
        finally:
            server.terminate()
            server.wait(10)


@pytest.fixture
def faulty(s3):
    """A function: an address in front of the store that answers as a function of (number of the request, method, path) says."""
    servers = []

    def start(fault: Fault, latency: float = 0.0) -> FaultyStore:
        servers.append(FaultyStore(s3.endpoint, fault, latency))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
