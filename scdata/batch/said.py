"""What a loader says of its draws by weight, once."""

import logging
import warnings

from scdata.batch.set_stream import SetStream

_LOG = logging.getLogger("scdata")
_DRAWS = 1 << 17  # that are looked at: some tens of milliseconds
_LISTED = 20


def say_shares(stream: SetStream, epoch: int) -> None:
    """Log the realised shares; warn where `max_repeat` keeps a value from half of the share that it was to have."""
    options = stream.options
    n_windows = max(1, _DRAWS // options.window)
    shares = stream.shares(epoch, n_windows)
    most = sorted(shares, key=lambda value: -shares[value][0])[:_LISTED]
    listed = ", ".join(f"{value!r} {shares[value][0]:.4f}" for value in most)
    _LOG.info("%s: shares of draws: %s%s", options.draws, listed, ", …" if len(shares) > len(most) else "")
    draws = min(n_windows * options.window, stream.n_cells)
    # of a value that is to come but a few times, so few draws say nothing
    short = {value: own for value, own in shares.items() if own[0] < own[1] / 2 and own[1] * draws >= 100}
    if short:
        value = min(short, key=lambda one: short[one][0])
        warnings.warn(
            f"{options.draws}: {len(short)} of {len(shares)} values come less than half as often as they were to, {value!r} in "
            f"{short[value][0]:.4f} of draws instead of {short[value][1]:.4f}, because a cell is drawn at most "
            f"{options.max_repeat} times in {options.window} positions: raise max_repeat, or leave rare values out by filter=",
            stacklevel=5,
        )
