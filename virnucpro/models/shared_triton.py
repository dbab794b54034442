"""What kernels in Triton and in Gluon share: the order of tiles; GELU, and `spread`, which may follow it."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tile_at(number, tiles_t, tiles_o, GROUP: tl.constexpr):
    """Tell where in y a tile lies, by tokens and by outputs, in units of tiles.

    GROUP tiles of tokens follow each other for the same outputs, so that weights are still in the L2 cache.
    """
    first = number // (GROUP * tiles_o) * GROUP
    size = min(tiles_t - first, GROUP)
    within = number % (GROUP * tiles_o)
    return first + within % size, within // size


# GELU is relu(x) less |x| times the share of a normal distribution beyond |x|. That share is poly(t) exp(-x^2 / 2) with
# t = 1 / (1 + p |x|), to 1e-7 (Abramowitz and Stegun 7.1.26, halved), in fewer instructions than the library's erf.
# Reciprocal and power are the GPU's own, to 2^-22 of their value.


@triton.jit
def gelu(x):
    """Compute GELU, the exact one with erf, of float32 to 4e-7."""
    size = tl.abs(x)
    t = tl.inline_asm_elementwise(
        "rcp.approx.ftz.f32 $0, $1;", "=f,f", [1.0 + 0.23164190 * size], dtype=tl.float32, is_pure=True, pack=1
    )
    poly = t * (0.127414796 + t * (-0.142248368 + t * (0.7107068705 + t * (-0.7265760135 + t * 0.5307027145))))
    power = tl.inline_asm_elementwise(
        "ex2.approx.ftz.f32 $0, $1;", "=f,f", [-0.72134752 * x * x], dtype=tl.float32, is_pure=True, pack=1
    )
    return tl.maximum(x, 0.0) - size * poly * power


@triton.jit
def spread(x, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Spread each block of 8 numbers over itself as `linear.spread` does, in float32.

    Neighbours are added and subtracted, and so are sums and differences, three times in all, within a thread.
    """
    even, odd = tl.split(x.reshape(ROWS, COLUMNS // 2, 2))
    return tl.join(_spread4(even + odd, ROWS, COLUMNS // 2), _spread4(even - odd, ROWS, COLUMNS // 2)).reshape(
        ROWS, COLUMNS
    )


@triton.jit
def _spread4(x, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    even, odd = tl.split(x.reshape(ROWS, COLUMNS // 2, 2))
    return tl.join(_spread2(even + odd, ROWS, COLUMNS // 2), _spread2(even - odd, ROWS, COLUMNS // 2)).reshape(
        ROWS, COLUMNS
    )


@triton.jit
def _spread2(x, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    even, odd = tl.split(x.reshape(ROWS, COLUMNS // 2, 2))
    return tl.join((even + odd) * 0.35355339059327373, (even - odd) * 0.35355339059327373).reshape(ROWS, COLUMNS)
