"""Build: plan → statistics → scatter → gather → manifest."""

from scdata.build.config import BuildConfig
from scdata.build.pipeline import build_shards, plan_build, run_build
from scdata.build.progress import Progress

__all__ = ["BuildConfig", "Progress", "build_shards", "plan_build", "run_build"]
