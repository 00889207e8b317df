"""Triton kernels: a network of two hidden layers in one pass; what happens between the layers stays on the chip.

Points come as columns `x[N, P]` in float32, weights as those of `torch.nn.Linear`. Products have float32 sums and
bfloat16 factors (float32 unless `half`). Widths are padded to the next power of two, at least 16, with zeros.
"""

import triton
import triton.language as tl


@triton.jit
def _matrix(start, rows: tl.constexpr, columns: tl.constexpr, padded_rows: tl.constexpr, padded: tl.constexpr,
            factor: tl.constexpr):  # fmt: skip
    """A matrix[rows, columns] in memory, padded with zeros, as factors of products."""
    row = tl.arange(0, padded_rows)[:, None]
    column = tl.arange(0, padded)[None, :]
    return tl.load(start + row * columns + column, (row < rows) & (column < columns), 0.0).to(factor)


@triton.jit
def _vector(start, size: tl.constexpr, padded: tl.constexpr):
    """A vector of `size` numbers in memory, padded with zeros. It stays float32: biases are added, not multiplied."""
    index = tl.arange(0, padded)
    return tl.load(start + index, index < size, 0.0)


@triton.jit
def _points(x, point, count, inputs: tl.constexpr, padded: tl.constexpr, factor: tl.constexpr):
    """The inputs [block, padded] of these points out of the columns x[N, count], as factors of products.

    Beyond the last point and the last input they are 0.
    """
    column = tl.arange(0, padded)[None, :]
    inside = (point < count)[:, None] & (column < inputs)
    return tl.load(x + column * count + point[:, None], inside, 0.0).to(factor)


@triton.jit
def _layer(values, weight, bias):
    """values[block, inputs] times weight[outputs, inputs] transposed, plus the bias: [block, outputs] in float32."""
    return tl.dot(values, tl.trans(weight)) + bias[None, :]


@triton.jit
def _rectified(values, slope: tl.constexpr, factor: tl.constexpr):
    """The leaky rectifier (`slope` times the value below 0), as factors of the next product."""
    return tl.where(values > 0, values, slope * values).to(factor)


@triton.jit
def mlp(
    x, weight1, bias1, weight2, bias2, weight3, bias3, out, count,
    inputs: tl.constexpr, width: tl.constexpr, outputs: tl.constexpr, slope: tl.constexpr,
    padded_inputs: tl.constexpr, padded_width: tl.constexpr, padded_outputs: tl.constexpr, block: tl.constexpr,
    half: tl.constexpr,
):  # fmt: skip
    """One program: the network's values at `block` points of x[N, P], written to out[P, M] in float32."""
    factor: tl.constexpr = tl.bfloat16 if half else tl.float32
    point = tl.program_id(0) * block + tl.arange(0, block)
    w1 = _matrix(weight1, width, inputs, padded_width, padded_inputs, factor)
    w2 = _matrix(weight2, width, width, padded_width, padded_width, factor)
    w3 = _matrix(weight3, outputs, width, padded_outputs, padded_width, factor)
    values = _points(x, point, count, inputs, padded_inputs, factor)
    values = _rectified(_layer(values, w1, _vector(bias1, width, padded_width)), slope, factor)
    values = _rectified(_layer(values, w2, _vector(bias2, width, padded_width)), slope, factor)
    result = _layer(values, w3, _vector(bias3, outputs, padded_outputs))
    column = tl.arange(0, padded_outputs)[None, :]
    tl.store(out + point[:, None] * outputs + column, result, (point < count)[:, None] & (column < outputs))


@triton.jit
def _store_matrix(start, values, rows: tl.constexpr, columns: tl.constexpr, padded_rows: tl.constexpr,
                  padded: tl.constexpr):  # fmt: skip
    """Write what is not padding of `values` as a matrix[rows, columns]."""
    row = tl.arange(0, padded_rows)[:, None]
    column = tl.arange(0, padded)[None, :]
    tl.store(start + row * columns + column, values, (row < rows) & (column < columns))


@triton.jit
def _store_vector(start, values, size: tl.constexpr, padded: tl.constexpr):
    """Write the first `size` of `values`."""
    index = tl.arange(0, padded)
    tl.store(start + index, values, index < size)


@triton.jit
def mlp_backward(
    x, weight1, bias1, weight2, bias2, weight3, grad_out, grad_x, partial, count, blocks,
    inputs: tl.constexpr, width: tl.constexpr, outputs: tl.constexpr, slope: tl.constexpr,
    padded_inputs: tl.constexpr, padded_width: tl.constexpr, padded_outputs: tl.constexpr, block: tl.constexpr,
    half: tl.constexpr, wants_grad_x: tl.constexpr,
):  # fmt: skip
    """Gradients to the points and to all weights and biases, given grad_out[P, M] (that of `mlp`'s output).

    Each program takes every so many-th block of points and computes the hidden values again. It writes grad_x[N, P] of
    its points where `wants_grad_x`, and its share of the parameters' gradients, laid end to end (weight and bias, layer
    by layer), into its row of `partial`. The shares are summed afterwards, in an order that does not change.
    """
    factor: tl.constexpr = tl.bfloat16 if half else tl.float32
    w1 = _matrix(weight1, width, inputs, padded_width, padded_inputs, factor)
    w2 = _matrix(weight2, width, width, padded_width, padded_width, factor)
    w3 = _matrix(weight3, outputs, width, padded_outputs, padded_width, factor)
    b1 = _vector(bias1, width, padded_width)
    b2 = _vector(bias2, width, padded_width)
    grad_w1 = tl.zeros((padded_width, padded_inputs), tl.float32)
    grad_w2 = tl.zeros((padded_width, padded_width), tl.float32)
    grad_w3 = tl.zeros((padded_outputs, padded_width), tl.float32)
    grad_b1 = tl.zeros((padded_width,), tl.float32)
    grad_b2 = tl.zeros((padded_width,), tl.float32)
    grad_b3 = tl.zeros((padded_outputs,), tl.float32)
    column = tl.arange(0, padded_outputs)[None, :]
    for block_number in range(tl.program_id(0), blocks, tl.num_programs(0)):
        point = block_number * block + tl.arange(0, block)
        first = _points(x, point, count, inputs, padded_inputs, factor)
        second = _rectified(_layer(first, w1, b1), slope, factor)
        third = _rectified(_layer(second, w2, b2), slope, factor)
        inside = (point < count)[:, None] & (column < outputs)
        grad = tl.load(grad_out + point[:, None] * outputs + column, inside, 0.0)
        grad_b3 += tl.sum(grad, 0)
        grad = grad.to(factor)
        grad_w3 += tl.dot(tl.trans(grad), third)
        grad = tl.dot(grad, w3)
        grad = tl.where(third > 0, grad, slope * grad)
        grad_b2 += tl.sum(grad, 0)
        grad = grad.to(factor)
        grad_w2 += tl.dot(tl.trans(grad), second)
        grad = tl.dot(grad, w2)
        grad = tl.where(second > 0, grad, slope * grad)
        grad_b1 += tl.sum(grad, 0)
        grad = grad.to(factor)
        grad_w1 += tl.dot(tl.trans(grad), first)
        if wants_grad_x:
            grad_inputs = tl.dot(grad, w1)
            feature = tl.arange(0, padded_inputs)[None, :]
            address = grad_x + feature * count + point[:, None]
            tl.store(address, grad_inputs, (point < count)[:, None] & (feature < inputs))
    size: tl.constexpr = width * inputs + width * width + outputs * width + 2 * width + outputs
    address = partial + tl.program_id(0) * size
    _store_matrix(address, grad_w1, width, inputs, padded_width, padded_inputs)
    address += width * inputs
    _store_vector(address, grad_b1, width, padded_width)
    address += width
    _store_matrix(address, grad_w2, width, width, padded_width, padded_width)
    address += width * width
    _store_vector(address, grad_b2, width, padded_width)
    address += width
    _store_matrix(address, grad_w3, outputs, width, padded_outputs, padded_width)
    address += outputs * width
    _store_vector(address, grad_b3, outputs, padded_outputs)
