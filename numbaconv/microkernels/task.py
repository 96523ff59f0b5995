"""Where a task lies: its flat index taken apart into image, group, output channels and block of pixels."""

from __future__ import annotations

from typing import Any

from numbaconv.codegen.jit import inline


def _locate(task: int, g: Any) -> Any:
    """(image*groups + group, group, first output channel of the group, (depth, row, column))."""
    rest, col_block = divmod(task, g.col_blocks)
    rest, row_block = divmod(rest, g.row_blocks)
    rest, depth = divmod(rest, g.out_d)
    channel, chunk = divmod(rest, g.chunks)
    return (
        channel,
        channel % g.groups,
        chunk * g.chunk_rows,
        (depth, row_block * g.block_rows, col_block * g.block_cols),
    )


locate = inline(_locate)
