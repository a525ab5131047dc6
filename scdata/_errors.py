"""What can go wrong, as one tree.

    ScdataError
    ├── SourceError            a source cannot be read, or holds what it should not
    │   ├── NotCountsError     (also ValueError) values that are not counts
    │   └── LayerNotFoundError (also KeyError)   a layer, measurement or column that is not there
    ├── TokenizerError         a preset, vocabulary or asset that does not fit
    │   ├── PresetError        (also ValueError) a preset with a wrong key or value
    │   ├── AssetsError        (also FileNotFoundError) a published vocabulary that is not at hand
    │   └── MappingError       (also ValueError) too few counts map to the vocabulary
    ├── BuildError             a build cannot start or go on
    │   ├── OutputExistsError  (also FileExistsError) the output holds something already
    │   ├── BuildLockedError   another build writes to the same output
    │   └── PlanChangedError   the unfinished build there had another config, input or version
    ├── ShardError             a set of shards cannot be trusted
    │   ├── SetNotFoundError   (also FileNotFoundError) no complete set at that place
    │   └── CorruptShardError  a shard, block, index or manifest that differs from what was written
    ├── StorageError           (also OSError) an object store or web server cannot be reached, or refuses
    ├── StateError             (also ValueError) a loader state that belongs to another set or version
    └── MissingExtraError      (also ImportError) an optional dependency is not installed

Wrong arguments are plain ``ValueError``. Every message names the value, the limit, the place, and what to do.
"""


class ScdataError(Exception):
    """Base of all errors that scdata raises on purpose."""

    def __str__(self) -> str:
        # KeyError would print the repr of its message
        return str(self.args[0]) if self.args else ""


class SourceError(ScdataError):
    """A source cannot be read, or holds what it should not."""


class NotCountsError(SourceError, ValueError):
    """Values are not raw counts: negative, fractional, not finite, or too large."""


class LayerNotFoundError(SourceError, KeyError):
    """A layer, measurement or column that the source does not have."""


class TokenizerError(ScdataError):
    """A preset, vocabulary or asset does not fit its use."""


class PresetError(TokenizerError, ValueError):
    """A preset has an unknown key or a value out of range."""


class AssetsError(TokenizerError, FileNotFoundError):
    """The files of a published vocabulary are not at hand, or are not the ones pinned."""


class MappingError(TokenizerError, ValueError):
    """Too few counts belong to genes of the vocabulary."""


class BuildError(ScdataError):
    """A build cannot start or go on."""


class OutputExistsError(BuildError, FileExistsError):
    """The output folder holds something already."""


class BuildLockedError(BuildError):
    """Another build writes to the same output."""


class PlanChangedError(BuildError):
    """An unfinished build stands there that was begun with another config, input or version."""


class StorageError(ScdataError, OSError):
    """An object store or web server cannot be reached, or refuses."""


class ShardError(ScdataError):
    """A set of shards cannot be trusted or read."""


class SetNotFoundError(ShardError, FileNotFoundError):
    """No complete set of shards stands at that place."""


class CorruptShardError(ShardError):
    """A shard, block, index or manifest differs from what was written."""


class StateError(ScdataError, ValueError):
    """A loader state belongs to another set, another order, or another format version."""


class MissingExtraError(ScdataError, ImportError):
    """An optional dependency is not installed; the message holds the line that installs it."""
