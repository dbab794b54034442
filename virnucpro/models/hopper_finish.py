"""Finish a tile of the product for Hopper: what its last warps do to y on its way out. `hopper_kernel` has the whole.

Axes: T tokens, O outputs.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma

from virnucpro.models.shared_triton import gelu, spread, tile_at

NOTHING, GELU, SPREAD_GELU, ROTATE, ADD = range(5)  # what is done to y
_GELU, _SPREAD_GELU, _ROTATE, _ADD = map(gl.constexpr, (GELU, SPREAD_GELU, ROTATE, ADD))
PARTS = gl.constexpr(4)  # of a tile, handed over one after the other


@gluon.jit
def finish(
    y_desc, y_s, y_full, y_free, cos_ptr, sin_ptr, sums_ptr, tokens, outputs, rotated, half, do,
    tiles_t, tiles_o, GROUP: gl.constexpr, SUMS: gl.constexpr,
):  # fmt: skip
    """Do to y what is wanted, a few rows at a time, and store it.

    Args:
        y_s: A tile of y in shared memory, in PARTS parts.
        y_full, y_free: Of each part, whether `_multiply` has put it there, and whether it may.
        rotated, half, do: As `hopper_kernel.product_kernel`.
        SUMS: Whether sums of the stream are kept where y is added to it.
    """
    BLOCK_T: gl.constexpr = y_s.shape[1]
    if do == _ADD:
        for part in range(PARTS):
            _fetch_stream(gl.program_id(0), part, y_desc, y_s, y_free, tiles_t, tiles_o, GROUP)
    done = 0  # tiles
    # All loops are ones at run time: unrolled, the code outgrows the instruction cache and takes three times as long.
    for tile in range(gl.program_id(0), tiles_t * tiles_o, gl.num_programs(0)):
        t, o = tile_at(tile, tiles_t, tiles_o, GROUP)
        t = t * BLOCK_T
        o = o * PARTS * y_s.shape[2]
        if do == _ROTATE:
            for part in range(PARTS):
                mbarrier.wait(y_full.index(part), done & 1)
            _rotate(y_s, t, o, cos_ptr, sin_ptr, tokens, rotated, half)
        for part in range(PARTS):
            first = o + part * y_s.shape[2]
            mbarrier.wait(y_full.index(part), done & 1)
            if do == _GELU:
                _gelu_part(y_s, part, False)
            if do == _SPREAD_GELU:
                _gelu_part(y_s, part, True)
            tma.async_copy_shared_to_global(y_desc, [t, first], y_s.index(part))
            if SUMS:
                if do == _ADD:
                    _keep_sums(y_s, part, t, first, sums_ptr, tokens, outputs)
            if part > 0:  # its store has run while this part was seen to
                tma.store_wait(1)
                _release(tile, part - 1, y_desc, y_s, y_free, tiles_t, tiles_o, do, GROUP)
        tma.store_wait(0)
        _release(tile, PARTS - 1, y_desc, y_s, y_free, tiles_t, tiles_o, do, GROUP)
        done += 1


@gluon.jit
def _gelu_part(y_s, part, SPREADS: gl.constexpr):
    """Apply GELU to a part in place, then `spread` if wanted."""
    ROWS: gl.constexpr = 32  # at a time: as many as leave registers enough
    WIDTH: gl.constexpr = y_s.shape[2]
    PIECES: gl.constexpr = y_s.shape[1] // ROWS
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [2, 1], [1, 0])
    pieces = y_s._reinterpret(y_s.dtype, [PARTS * PIECES, ROWS, WIDTH], y_s.layout)
    for number in range(PIECES):
        piece = pieces.index(part * PIECES + number)
        y = gelu(piece.load(layout).to(gl.float32))
        if SPREADS:
            y = gl.convert_layout(spread(y, ROWS, WIDTH), layout)
        piece.store(y.to(y_s.dtype))
    fence_async_shared()


@gluon.jit
def _release(tile, part, y_desc, y_s, y_free, tiles_t, tiles_o, do, GROUP: gl.constexpr):
    """Let the next tile have a part's place in shared memory; ADD first loads there what the tile is added to."""
    if do == _ADD:
        _fetch_stream(tile + gl.num_programs(0), part, y_desc, y_s, y_free, tiles_t, tiles_o, GROUP)
    else:
        mbarrier.arrive(y_free.index(part), count=1)


@gluon.jit
def _fetch_stream(tile, part, y_desc, y_s, y_free, tiles_t, tiles_o, GROUP: gl.constexpr):
    """Load a part of the residual stream into the place of that part of y, which `_multiply` will add to it."""
    if tile < tiles_t * tiles_o:
        t, o = tile_at(tile, tiles_t, tiles_o, GROUP)
        first = [t * y_s.shape[1], (o * PARTS + part) * y_s.shape[2]]
        mbarrier.expect(y_free.index(part), y_desc.block_type.nbytes)
        tma.async_copy_global_to_shared(y_desc, first, y_free.index(part), y_s.index(part))


@gluon.jit
def _rotate(y_s, token, first, cos_ptr, sin_ptr, tokens, rotated, half):
    """Rotate each pair of neighbours by the angle of its token and of its place in a head.

    A part holds whole heads, so angles that are loaded once serve for all parts.
    """
    ROWS: gl.constexpr = 16
    WIDTH: gl.constexpr = y_s.shape[2]
    PIECES: gl.constexpr = y_s.shape[1] // ROWS
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [2, 1], [1, 0])
    pair_layout: gl.constexpr = gl.BlockedLayout([1, 4], [4, 8], [2, 1], [1, 0])  # as `split` leaves it
    pieces = y_s._reinterpret(y_s.dtype, [PARTS * PIECES, ROWS, WIDTH], y_s.layout)
    parts = min(PARTS, (rotated - first) // WIDTH)
    if parts > 0:
        pair = gl.expand_dims(gl.arange(0, WIDTH // 2, layout=gl.SliceLayout(0, pair_layout)), 0) % half
        for number in range(PIECES):
            t = gl.arange(0, ROWS, layout=gl.SliceLayout(1, pair_layout)) + token + number * ROWS
            angle = gl.expand_dims(t, 1) * half + pair
            inside = gl.expand_dims(t, 1) < tokens
            cos = gl.load(cos_ptr + angle, mask=inside, other=0.0)
            sin = gl.load(sin_ptr + angle, mask=inside, other=0.0)
            for part in range(parts):
                piece = pieces.index(part * PIECES + number)
                a, b = piece.load(layout).to(gl.float32).reshape((ROWS, WIDTH // 2, 2)).split()
                a = gl.convert_layout(a, pair_layout)
                b = gl.convert_layout(b, pair_layout)
                both = gl.join(a * cos - b * sin, b * cos + a * sin).reshape((ROWS, WIDTH))
                piece.store(gl.convert_layout(both, layout).to(piece.dtype))
        fence_async_shared()


@gluon.jit
def _keep_sums(y_s, part, token, first, sums_ptr, tokens, outputs):
    """Store of each row of a part the sum of its numbers and the sum of their squares."""
    ROWS: gl.constexpr = 32
    WIDTH: gl.constexpr = y_s.shape[2]
    PIECES: gl.constexpr = y_s.shape[1] // ROWS
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [2, 1], [1, 0])
    pieces = y_s._reinterpret(y_s.dtype, [PARTS * PIECES, ROWS, WIDTH], y_s.layout)
    for number in range(PIECES):
        y = pieces.index(part * PIECES + number).load(layout).to(gl.float32)
        t = token + number * ROWS + gl.arange(0, ROWS, layout=gl.SliceLayout(1, layout))
        kept = sums_ptr + (t.to(gl.int64) * gl.cdiv(outputs, WIDTH) + first // WIDTH) * 2
        inside = (t < tokens) & (first < outputs)
        gl.store(kept, gl.sum(y, axis=1), mask=inside)
        gl.store(kept + 1, gl.sum(y * y, axis=1), mask=inside)
