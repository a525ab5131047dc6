"""Build: plan → statistics → scatter → gather → manifest."""

from scdata.build import finished_set
from scdata.build.config import BuildConfig
from scdata.build.pipeline import build_shards, plan_build, run_build
from scdata.build.progress import Progress
from scdata.source import open_source, register_source

# a stage knows none to its right, so that sets become sources here
register_source(finished_set)

__all__ = ["BuildConfig", "Progress", "build_shards", "open_source", "plan_build", "run_build"]
