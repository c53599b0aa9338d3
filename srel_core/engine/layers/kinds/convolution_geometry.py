"""Which taps of a convolution's kernel meet the input, and where, along each of its two axes.

At tap t of a kernel, output o reads the input at stride·o + dilation·t − padding. Where that lies
outside of the input, the tap multiplies a zero; where it does so for every o, the tap is dead: its
gradient is exactly zero.
"""

from dataclasses import dataclass

from torch import nn

Ends = tuple[int, int]
"""What is added before the first and after the last number along an axis."""


@dataclass(frozen=True)
class Axis:
    """One axis of a convolution of inputs of one size.

    Of the kernel's taps those from `first` to `end` − 1 are kept: all live ones are among them.
    `pads` is what to add to the input's two ends for them; negative numbers cut. `reads` has for
    each output the kept taps that meet the input, counted from `first`, and where in the input
    they do.
    """

    first: int
    end: int
    pads: Ends
    reads: tuple[tuple[slice, slice], ...]

    @classmethod
    def of(cls, n_in: int, taps: int, stride: int, padding: Ends, dilation: int) -> "Axis":
        n_out = n_outputs(n_in + sum(padding), taps, stride, dilation)
        place = [
            [stride * o + dilation * t - padding[0] for t in range(taps)] for o in range(n_out)
        ]
        met = [[t for t in range(taps) if 0 <= row[t] < n_in] for row in place]
        live = sorted(set().union(*met)) or list(range(taps))
        first, last = live[0], live[-1]
        reads = tuple(
            (
                slice(of_o[0] - first, of_o[-1] + 1 - first),
                slice(row[of_o[0]], row[of_o[-1]] + 1, dilation),
            )
            if of_o
            else (slice(0, 0), slice(0, 0))
            for row, of_o in zip(place, met, strict=True)
        )
        pads = (-place[0][first], place[-1][last] - (n_in - 1))
        return cls(first, last + 1, pads, reads)

    @property
    def n_live(self) -> int:
        """How many taps meet the input for some output."""
        return len({t for taps, _ in self.reads for t in range(taps.start, taps.stop)})

    @property
    def n_met(self) -> int:
        """How often a tap meets the input, over all outputs."""
        return sum(taps.stop - taps.start for taps, _ in self.reads)


def n_outputs(n_padded: int, taps: int, stride: int, dilation: int) -> int:
    """How many outputs there are along an axis of padded inputs."""
    return (n_padded - dilation * (taps - 1) - 1) // stride + 1


def padding_of(conv: nn.Conv2d) -> tuple[Ends, Ends]:
    """Of rows, and of columns."""
    if conv.padding == "same":
        rows, columns = (d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
        return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)
    if isinstance(conv.padding, str):  # "valid"
        return (0, 0), (0, 0)
    down, across = (int(n) for n in conv.padding)
    return (down, down), (across, across)


def axes_of(conv: nn.Conv2d, size: tuple[int, int]) -> tuple[Axis, Axis]:
    """Of rows and of columns, for inputs of this height and width."""
    rows, columns = (
        Axis.of(n, taps, stride, padding, dilation)
        for n, taps, stride, padding, dilation in zip(
            size, conv.kernel_size, conv.stride, padding_of(conv), conv.dilation, strict=True
        )
    )
    return rows, columns
