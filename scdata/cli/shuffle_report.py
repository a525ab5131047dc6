"""What ``scdata bench --shuffle`` prints and draws."""

import click

from scdata._optional import need
from scdata.stream.shuffle_quality import ShuffleQuality

_COLORS = ("tab:blue", "0.2", "tab:green", "tab:olive", "tab:orange", "tab:red")


def print_quality(found: ShuffleQuality) -> None:
    """A table, one line an order."""
    click.echo(
        f"batches of {found.batch_size} of {found.n_cells:,} cells, {found.epochs} epochs; "
        f"{found.n_labels} values of {found.label}, {found.uniform_entropy:.3f} nats in a uniform draw"
    )
    click.echo(f"{'order':<22}{'entropy':>9}{'5th pct':>9}{'pairs':>9}{'neighbours':>12}")
    for one in found.orders:
        click.echo(f"{one.order:<22}{one.entropy:>9.3f}{one.entropy_p5:>9.3f}{one.pairs:>9.2f}{one.neighbours:>12.2f}")


def draw_quality(every: list[ShuffleQuality], path: str) -> None:
    """A row of panels for each size of batches: entropies of single batches, and both ratios of pairs.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    need("matplotlib", "draw how well a set is shuffled")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4 * len(every)), layout="constrained")
    FigureCanvasAgg(figure)
    for found, (left, right) in zip(every, figure.subplots(len(every), 2, squeeze=False), strict=True):
        low = min(float(one.entropies.min()) for one in found.orders)
        high = max(float(one.entropies.max()) for one in found.orders)
        for i, (one, color) in enumerate(zip(found.orders, _COLORS, strict=True)):
            left.hist(
                one.entropies, bins=60, range=(low, high), density=True, histtype="step", color=color, label=one.order
            )
            right.bar(i - 0.2, one.pairs, 0.4, color=color)
            right.bar(i + 0.2, one.neighbours, 0.4, color=color, alpha=0.5)
        left.set(
            xlabel=f"entropy of {found.label} in a batch / uniform draw", ylabel="density of batches", yscale="log"
        )
        left.set_title(f"batches of {found.batch_size}, {found.n_cells:,} cells")
        left.legend(fontsize=7)
        right.axhline(1, color="0.5", linewidth=0.8)
        right.set(yscale="log", ylabel="times chance", title="pairs that meet again | neighbours that meet (pale)")
        right.set_xticks(
            range(len(found.orders)), [one.order.replace(" ", "\n", 1) for one in found.orders], fontsize=7
        )
    figure.savefig(path, dpi=110)
