"""Adding several numbers that lie side by side, from many threads at once.

From compute capability 9.0 on, one instruction adds two or four floats; elsewhere it is one addition for each.
"""

from typing import Any

import warp as wp


def _add_together(address: str, values: list[str], otherwise: str) -> str:
    """C++ that adds `values` to the floats from `address` on, which is a multiple of their size."""
    places = ", ".join(f"%{i + 1}" for i in range(len(values)))
    inputs = ", ".join(f'"f"({value})' for value in values)
    return f"""
    #if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("red.global.add.v{len(values)}.f32 [%0], {{{places}}};" :: "l"({address}), {inputs} : "memory");
    #else
    {otherwise}
    #endif
    """


def row_adder(features: int) -> Any:
    """`add(table, index, value)` for tables of rows with this many features."""
    row = wp.types.vector(length=features, dtype=wp.float32)
    snippet = otherwise = "wp::atomic_add(table, index, value);"
    if features in (2, 4):
        address = "reinterpret_cast<float*>(table.data + index)"
        snippet = _add_together(address, [f"value[{i}]" for i in range(features)], otherwise)

    @wp.func_native(snippet)
    def add(table: wp.array(dtype=row), index: int, value: row):
        """Add `value` to a row of the table."""

    return add


@wp.func_native(
    _add_together(
        "reinterpret_cast<float*>(array.data + batch * array.shape[1] + vertex)",
        [f"value[{i}]" for i in range(4)],
        "wp::atomic_add(array, batch, vertex, value);",
    )
)
def add_to_vertex(array: wp.array2d(dtype=wp.vec4), batch: int, vertex: int, value: wp.vec4):
    """Add `value` to a vertex of one picture: array[B, V]."""


_PAIR = _add_together(
    "array.data + (batch * array.shape[1] + vertex) * channels + c",
    ["weight * values[c]", "weight * values[c + 1]"],
    "break;",
)


@wp.func_native(
    f"""
    const int channels = array.shape[2];
    const float* values = rows.data + row * channels;
    int c = 0;
    for (; channels % 2 == 0 && c < channels; c += 2) {{
        if (values[c] == 0.0f && values[c + 1] == 0.0f) continue;
        {_PAIR}
    }}
    for (; c < channels; ++c)
        if (values[c] != 0.0f) wp::atomic_add(array, batch, vertex, c, weight * values[c]);
    """
)
def add_weighted_row(
    array: wp.array3d(dtype=wp.float32),
    batch: int,
    vertex: int,
    rows: wp.array2d(dtype=wp.float32),
    row: int,
    weight: float,
):
    """Add row `row` of `rows`, times `weight`, to a vertex of one picture: array[B, V, C].

    Zeros are left out: most of a batch's gradient is zero, and adding it would only make other threads wait.
    """
