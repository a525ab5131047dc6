"""The doctor finds what is there and what is broken, and asks real servers."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from scdata.cli import checkup


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """Answers with the status that `server.status` says."""

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(self.server.status)  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing goes to the terminal."""

    with HTTPServer(("127.0.0.1", 0), Answer) as found:
        found.status = 200  # type: ignore[attr-defined]
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def test_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scdata.cli.main", "doctor", "--no-network", "--folder", str(tmp_path / "new")]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    names = [finding["name"] for finding in found["findings"]]
    assert {"machine", "torch", "build", "eval", "workers", "disk", "open files"} <= set(names)
    assert "Hub" not in names
    assert found["ok"]
    assert all(finding["remedy"] for finding in found["findings"] if finding["status"] != "ok")
    assert not (tmp_path / "new").exists()


def test_hub_is_asked(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    found = checkup.hub()
    assert found.status == "ok"
    assert "there is a token" in found.text
    assert "secret" not in found.text
    server.status = 503
    assert "answers with status 503" in checkup.hub().text
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://key:secret@127.0.0.1:9")
    [s3] = checkup.object_store()
    assert (s3.status, s3.remedy) == ("note", "check AWS_ENDPOINT_URL")
    assert "secret" not in s3.text


def test_cuda_of_torch_and_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    there = {"torch": "2.13.0", "cupy-cuda12x": "14.0"}
    monkeypatch.setattr(checkup, "_version", there.get)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    found = {finding.name: finding for finding in checkup.devices()}
    assert found["CuPy"].status == "bad"
    assert "pip install 'scdata-engine[cuda13]'" in found["CuPy"].remedy
    there["cupy-cuda13x"] = "14.0"
    assert "both installed" in {finding.name: finding for finding in checkup.devices()}["CuPy"].text


def test_what_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checkup, "_version", lambda module: None)
    found = checkup.libraries("s3")
    assert (found.status, found.remedy) == ("note", "pip install 'scdata-engine[s3]'")
    monkeypatch.setattr(checkup, "_version", lambda module: "1.0")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert checkup.libraries("s3").status == "bad"
    monkeypatch.setattr(checkup, "_LEAST_DISK", 1 << 62)
    assert "--scratch elsewhere" in checkup.disk(tmp_path / "a" / "b").remedy
