import contextlib
import os

import pytest
from huggingface_hub import constants

from scdata.hub import repository
from tests.hub.hub_server import Hub
from tests.hub.sets import build


@pytest.fixture(scope="session")
def demo_set(tmp_path_factory):
    return build(tmp_path_factory.mktemp("sets") / "demo.set")


@pytest.fixture(scope="session")
def other_set(tmp_path_factory):
    """Some of the same cells: another manifest, other shards at the same paths, and fewer of them."""
    return build(tmp_path_factory.mktemp("sets") / "other.set", obs_filter="condition == 'control'", splits=[])


@pytest.fixture
def start_hub(monkeypatch, tmp_path):
    """A function that starts a Hub, to which the client's constants lead as HF_ENDPOINT would have made them."""
    with contextlib.ExitStack() as stack:

        def start(*arguments, token="hf_ann", **named):
            hub = stack.enter_context(contextlib.closing(Hub(*arguments, **named)))
            monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
            monkeypatch.setattr(
                constants,
                "HUGGINGFACE_CO_URL_TEMPLATE",
                f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
            )
            monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", hub.store is None)
            monkeypatch.setattr(constants, "HF_XET_CACHE", str(tmp_path / "xet"), raising=False)
            monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
            monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
            monkeypatch.setattr(repository, "_WAITS_S", (0.01,) * 4)
            monkeypatch.delenv("HF_TOKEN", raising=False)
            if token:
                monkeypatch.setenv("HF_TOKEN", token)
            return hub

        yield start


@pytest.fixture
def environment(tmp_path):
    """A function: the environment of a process that reaches a Hub, as people would set it."""

    def of(hub, **more):
        own = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", **more}
        return {key: value for key, value in os.environ.items() if not key.startswith("HF_")} | own

    return of


@pytest.fixture
def hub(start_hub):
    return start_hub()
