"""Pictures of any size for an ONNX model that takes them at one size: resizing as `retrain predict` does, bit for bit.

ONNX has an operation for it, but each runtime rounds in its own way. So it is made of matrix products here. A place i
of m takes from level k of n the share max(0, 2 max(n, m) - |m (2k + 1) - n (2i + 1)|), over the sum of its shares: a
triangle as wide as the scale, as in Pillow's Resample.c. Pillow rounds shares to multiples of 2^-22, and sums to whole
levels. Both come out exactly in any runtime that computes in float32: shares are split into two numbers of 11 bits,
and the sums of their products with levels stay below 2^24 (up to 32 levels to a place). `Quotient` divides integers
exactly, which OpenVINO's division does not. `Bits` takes 11 bits in two steps, so that 32-bit integers suffice for
sides of up to some 60,000 pixels.

Rows become shorter first, but for tall pictures (`data.decoding` has the rule), which are put on their side by `Planes`
before and after. (An `If` with both orders gives other pixels in OpenVINO 2026.4, when a network follows.)
"""

from typing import TYPE_CHECKING

from retrain.data import BACKGROUND, PictureForm

if TYPE_CHECKING:
    import onnx

__all__ = ["PICTURES", "resizing", "with_resizing"]

PICTURES = "pictures"  # the input
_OPSET = 18  # of what stands in front

_TEXT = """
<ir_version: 8, opset_import: ["": 18, "retrain": 1]>
resizing (uint8[n, height, width, 3] pictures) => (uint8[n, HEIGHT, WIDTH, 3] pixels)
{
BEFORE    lost_height = Sub (height, new_height)
    lost_width = Sub (width, new_width)
    twice_lost_width = Mul (lost_width, two)
    bound = Max (twice_lost_width, zero)
    columns_first = Greater (lost_height, bound)
    planes = retrain.Planes (PART, height, width, columns_first)
    rows = Where (columns_first, width, height)
    columns = Where (columns_first, height, width)
    new_rows = Where (columns_first, new_width, new_height)
    new_columns = Where (columns_first, new_height, new_width)
    upper_x, lower_x = retrain.Shares (columns, new_columns)
    upper_y, lower_y = retrain.Shares (rows, new_rows)
    upper_last = Transpose <perm = [1, 0]> (upper_x)
    lower_last = Transpose <perm = [1, 0]> (lower_x)
    above_x = MatMul (planes, upper_last)
    below_x = MatMul (planes, lower_last)
    narrow = retrain.Whole (above_x, below_x)
    above_y = MatMul (upper_y, narrow)
    below_y = MatMul (lower_y, narrow)
    small = retrain.Whole (above_y, below_y)
    last = Transpose <perm = [0, 2, 3, 1]> (small)
    upright = retrain.Planes (last, new_rows, new_columns, columns_first)
    final = Transpose <perm = [0, 2, 3, 1]> (upright)
BEHIND    pixels = Cast <to = 2> (fixed)
}

<domain: "retrain", opset_import: ["": 18]>
Planes (pictures, height, width, turned) => (planes)
{
    one = Constant <value = int32 {1}> ()
    zero = Constant <value = int32 {0}> ()
    along = Constant <value = int64[1] {1}> ()
    flat = Constant <value = int64[1] {-1}> ()
    listed = Constant <value = int64[3] {0, -1, 3}> ()
    kept = Constant <value = int64[1] {0}> ()
    three = Constant <value = int64[1] {3}> ()
    rows = Where (turned, width, height)
    columns = Where (turned, height, width)
    row_step = Where (turned, one, width)
    column_step = Where (turned, width, one)
    row_numbers = Range (zero, rows, one)
    column_numbers = Range (zero, columns, one)
    row_starts_flat = Mul (row_numbers, row_step)
    row_starts = Unsqueeze (row_starts_flat, along)
    steps = Mul (column_numbers, column_step)
    places_table = Add (row_starts, steps)
    places = Reshape (places_table, flat)
    listed_pixels = Reshape (pictures, listed)
    moved = Gather <axis = 1> (listed_pixels, places)
    levels = Cast <to = 1> (moved)
    colours = Transpose <perm = [0, 2, 1]> (levels)
    rows_64 = Cast <to = 7> (rows)
    columns_64 = Cast <to = 7> (columns)
    rows_1 = Reshape (rows_64, flat)
    columns_1 = Reshape (columns_64, flat)
    plane_shape = Concat <axis = 0> (kept, three, rows_1, columns_1)
    planes = Reshape (colours, plane_shape)
}

<domain: "retrain", opset_import: ["": 18, "retrain": 1]>
Shares (size, length) => (upper, lower)
{
    zero = Constant <value = int32 {0}> ()
    one = Constant <value = int32 {1}> ()
    two = Constant <value = int32 {2}> ()
    along = Constant <value = int64[1] {1}> ()
    levels = Range (zero, size, one)
    places = Range (zero, length, one)
    twice_levels = Mul (levels, two)
    odd_levels = Add (twice_levels, one)
    of_levels = Mul (odd_levels, length)
    twice_places = Mul (places, two)
    odd_places = Add (twice_places, one)
    of_places_row = Mul (odd_places, size)
    of_places = Unsqueeze (of_places_row, along)
    apart = Sub (of_levels, of_places)
    away = Abs (apart)
    longer = Max (size, length)
    support = Mul (longer, two)
    inside = Sub (support, away)
    shares = Max (inside, zero)
    sums = ReduceSum <keepdims = 1> (shares, along)
    upper_bits, rest = retrain.Bits (shares, sums, zero)
    half = retrain.Quotient (sums, two)
    lower_bits, left = retrain.Bits (rest, sums, half)
    upper = Cast <to = 1> (upper_bits)
    lower = Cast <to = 1> (lower_bits)
}

<domain: "retrain", opset_import: ["": 18, "retrain": 1]>
Bits (share, sums, extra) => (bits, rest)
{
    six = Constant <value = int32 {64}> ()
    five = Constant <value = int32 {32}> ()
    first = Mul (share, six)
    high = retrain.Quotient (first, sums)
    taken = Mul (high, sums)
    between = Sub (first, taken)
    second = Mul (between, five)
    rounded = Add (second, extra)
    low = retrain.Quotient (rounded, sums)
    given = Mul (low, sums)
    rest = Sub (rounded, given)
    shifted = Mul (high, five)
    bits = Add (shifted, low)
}

<domain: "retrain", opset_import: ["": 18]>
Whole (above, below) => (levels)
{
    part = Constant <value = float {0.00048828125}> ()
    half = Constant <value = float {1024.0}> ()
    carried = Mul (below, part)
    carry = Floor (carried)
    sum = Add (above, carry)
    rounded = Add (sum, half)
    shifted = Mul (rounded, part)
    levels = Floor (shifted)
}

<domain: "retrain", opset_import: ["": 18]>
Quotient (a, b) => (whole)
{
    zero = Constant <value = int32 {0}> ()
    a_float = Cast <to = 1> (a)
    b_float = Cast <to = 1> (b)
    ratio = Div (a_float, b_float)
    floor = Floor (ratio)
    near = Cast <to = 6> (floor)
    product = Mul (near, b)
    rest = Sub (a, product)
    is_low = GreaterOrEqual (rest, b)
    is_high = Less (rest, zero)
    low = Cast <to = 6> (is_low)
    high = Cast <to = 6> (is_high)
    raised = Add (near, low)
    whole = Sub (raised, high)
}
"""


# What stands before: the size of the pictures, and the size that they are resized to.
_SIZES = """
    whole_height = Constant <value = int32 {HEIGHT}> ()
    whole_width = Constant <value = int32 {WIDTH}> ()
    shape_64 = Shape (pictures)
    shape = Cast <to = 6> (shape_64)
    axis_1 = Constant <value = int64 {1}> ()
    axis_2 = Constant <value = int64 {2}> ()
    given_height = Gather (shape, axis_1)
    given_width = Gather (shape, axis_2)
    two = Constant <value = int32 {2}> ()
    zero = Constant <value = int32 {0}> ()
"""

# Where proportions are kept: how much too wide or too high a picture is (`PictureForm` has the rule).
_MARGINS = """
    wide = Mul (given_width, whole_height)
    high = Mul (given_height, whole_width)
    wider = Sub (wide, high)
    higher = Sub (high, wide)
    too_wide = Max (wider, zero)
    too_high = Max (higher, zero)
    along = Constant <value = int64[1] {1}> ()
"""

_CROP = """
    twice_height = Mul (whole_height, two)
    twice_width = Mul (whole_width, two)
    cut_columns = retrain.Quotient (too_wide, twice_height)
    cut_rows = retrain.Quotient (too_high, twice_width)
    end_row = Sub (given_height, cut_rows)
    end_column = Sub (given_width, cut_columns)
    first_row = Reshape (cut_rows, along)
    first_column = Reshape (cut_columns, along)
    last_row = Reshape (end_row, along)
    last_column = Reshape (end_column, along)
    starts = Concat <axis = 0> (first_row, first_column)
    ends = Concat <axis = 0> (last_row, last_column)
    axes = Constant <value = int32[2] {1, 2}> ()
    part = Slice (pictures, starts, ends, axes)
    height = Sub (end_row, cut_rows)
    width = Sub (end_column, cut_columns)
    new_height = Identity (whole_height)
    new_width = Identity (whole_width)
"""

_PAD = """
    twice_height = Mul (given_height, two)
    twice_width = Mul (given_width, two)
    border_rows = retrain.Quotient (too_wide, twice_width)
    border_columns = retrain.Quotient (too_high, twice_height)
    twice_rows = Mul (border_rows, two)
    twice_columns = Mul (border_columns, two)
    new_height = Sub (whole_height, twice_rows)
    new_width = Sub (whole_width, twice_columns)
    height = Identity (given_height)
    width = Identity (given_width)
"""

_SQUASH = """
    height = Identity (given_height)
    width = Identity (given_width)
    new_height = Identity (whole_height)
    new_width = Identity (whole_width)
"""

_AT_ONE_SIZE = """
    final_shape = Constant <value = int64[4] {-1, HEIGHT, WIDTH, 3}> ()
    fixed = Reshape (SMALL, final_shape)
"""

_ON_BACKGROUND = """
    above_64 = Cast <to = 7> (border_rows)
    beside_64 = Cast <to = 7> (border_columns)
    above = Reshape (above_64, along)
    beside = Reshape (beside_64, along)
    none = Constant <value = int64[1] {0}> ()
    borders = Concat <axis = 0> (none, above, beside, none, none, above, beside, none)
    grey = Constant <value = float {BACKGROUND}> ()
    padded = Pad (final, borders, grey)
"""

# fit -> what stands before resizing, and behind; the names of what is resized and of what comes out
_FITS = {
    "squash": (_SIZES + _SQUASH, _AT_ONE_SIZE, "pictures", "final"),
    "crop": (_SIZES + _MARGINS + _CROP, _AT_ONE_SIZE, "part", "final"),
    "pad": (_SIZES + _MARGINS + _PAD, _ON_BACKGROUND + _AT_ONE_SIZE, "pictures", "padded"),
}


def resizing(form: PictureForm) -> "onnx.ModelProto":
    """A model that brings `pictures` to a form: `pixels`, (n, height, width, 3) uint8."""
    import onnx.inliner
    import onnx.parser

    before, behind, part, small = _FITS[form.fit]
    text = _TEXT.replace("BEFORE", before).replace("BEHIND", behind).replace("PART", part).replace("SMALL", small)
    text = text.replace("BACKGROUND", f"{BACKGROUND}.0")
    text = text.replace("HEIGHT", str(form.height)).replace("WIDTH", str(form.width))
    return onnx.inliner.inline_local_functions(onnx.parser.parse_model(text))


def with_resizing(model: "onnx.ModelProto", form: PictureForm) -> "onnx.ModelProto":
    """A model that takes `pictures`, (n, any, any, 3) uint8, RGB, in the place of pictures in a form.

    Args:
        model: its one input is (n, height, width, 3) uint8. Opsets before 18 become 18.
    """
    import onnx.compose
    import onnx.version_converter

    [opset] = [one.version for one in model.opset_import if one.domain in ("", "ai.onnx")]
    if opset < _OPSET:
        model = onnx.version_converter.convert_version(model, _OPSET)
    front = resizing(form)
    front = onnx.compose.add_prefix(front, "resizing/", rename_inputs=False)
    whole = onnx.compose.add_prefix(model, "network/", rename_outputs=False)
    whole.ir_version = max(model.ir_version, front.ir_version)
    [pixels], [taken] = front.graph.output, whole.graph.input
    batch = taken.type.tensor_type.shape.dim[0]
    if batch.HasField("dim_value"):
        front.graph.input[0].type.tensor_type.shape.dim[0].CopyFrom(batch)
    bridge = onnx.helper.make_node("Identity", [pixels.name], [taken.name])
    nodes = [*front.graph.node, bridge, *whole.graph.node]
    del whole.graph.node[:], whole.graph.input[:]
    whole.graph.node.extend(nodes)
    whole.graph.input.extend(front.graph.input)
    return whole
