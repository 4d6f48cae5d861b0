// Y [m, n] = (A - a_zero) (B - b_zero), int32, wrapping: A [m, k] and B's columns as integer_pack.wgsl leaves rows, or
// the host. With a = A - 128 where A is unsigned, and so b: the sum of a b, and corrections by sums of rows.
//
// Bindings: group 0, 0 = a [m, words], 1 = sums of a [m], 2 = y, 3 = a_zero, 4 = b_zero (one, or one per row or column;
// 8-bit), 5 = b [columns, words], 6 = sums of b [columns]. Parameters: immediate, 48 bytes. Workgroup: 32 x 1 x 1; an
// invocation makes 4 x 4 outputs: x of the grid goes over columns, y over rows in fours.

struct IntegerMatmulParams {
  rows: u32,
  columns: u32,    // bound here
  k: u32,
  words: u32,      // of a row
  y_stride: u32,
  y_first: u32,    // column of y that the first bound column makes
  flags: u32,      // 1: A is signed, 2: B is; 4, 8: a_zero, b_zero are there; 16, 32: one per row, per column
  pad0: u32,
  pad1: u32,
  pad2: u32,
  pad3: u32,
  pad4: u32,
}

@group(0) @binding(0) var<storage, read_write> integer_a: array<u32>;
@group(0) @binding(1) var<storage, read_write> integer_a_sums: array<i32>;
@group(0) @binding(2) var<storage, read_write> integer_y: array<i32>;
@group(0) @binding(3) var<storage, read_write> integer_a_zero: array<u32>;
@group(0) @binding(4) var<storage, read_write> integer_b_zero: array<u32>;
@group(0) @binding(5) var<storage, read_write> integer_b: array<u32>;
@group(0) @binding(6) var<storage, read_write> integer_b_sums: array<i32>;
var<immediate> integer_params: IntegerMatmulParams;

fn integer_dots(a: u32, b: vec4<u32>) -> vec4<i32> {
  return vec4<i32>(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
}

// What is added to the packed numbers to give A less its zero point.
fn integer_a_shift(row: u32) -> i32 {
  let p = integer_params;
  let is_signed = (p.flags & 1u) != 0u;
  let at = select(0u, row, (p.flags & 16u) != 0u);
  let zero = select(0, byte_of(integer_a_zero[at >> 2u], at, is_signed), (p.flags & 4u) != 0u);
  return select(128, 0, is_signed) - zero;
}

fn integer_b_shift(column: u32) -> i32 {
  let p = integer_params;
  let is_signed = (p.flags & 2u) != 0u;
  let at = select(0u, column, (p.flags & 32u) != 0u);
  let zero = select(0, byte_of(integer_b_zero[at >> 2u], at, is_signed), (p.flags & 8u) != 0u);
  return select(128, 0, is_signed) - zero;
}

fn integer_store(row: u32, first_column: u32, sums: vec4<i32>) {
  let p = integer_params;
  if row >= p.rows {
    return;
  }
  let a_shift = integer_a_shift(row);
  let a_sum = integer_a_sums[row];
  for (var i = 0u; i < 4u; i += 1u) {
    let column = first_column + i;
    if column < p.columns {
      let b_shift = integer_b_shift(p.y_first + column);
      integer_y[row * p.y_stride + p.y_first + column] =
          sums[i] + b_shift * a_sum + a_shift * integer_b_sums[column] + i32(p.k) * a_shift * b_shift;
    }
  }
}

@compute @workgroup_size(32, 1, 1)
fn integer_matmul(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let p = integer_params;
  let column = (group.x * 32u + t) * 4u;
  let row = group.y * 4u;
  let last_row = p.rows - 1u;
  let last = p.columns - 1u;
  let a0 = row * p.words;
  let a1 = min(row + 1u, last_row) * p.words;
  let a2 = min(row + 2u, last_row) * p.words;
  let a3 = min(row + 3u, last_row) * p.words;
  let b0 = min(column, last) * p.words;
  let b1 = min(column + 1u, last) * p.words;
  let b2 = min(column + 2u, last) * p.words;
  let b3 = min(column + 3u, last) * p.words;
  var sum0 = vec4<i32>();
  var sum1 = vec4<i32>();
  var sum2 = vec4<i32>();
  var sum3 = vec4<i32>();
  for (var w = 0u; w < p.words; w += 1u) {
    let b = vec4<u32>(integer_b[b0 + w], integer_b[b1 + w], integer_b[b2 + w], integer_b[b3 + w]);
    sum0 += integer_dots(integer_a[a0 + w], b);
    sum1 += integer_dots(integer_a[a1 + w], b);
    sum2 += integer_dots(integer_a[a2 + w], b);
    sum3 += integer_dots(integer_a[a3 + w], b);
  }
  integer_store(row, column, sum0);
  integer_store(row + 1u, column, sum1);
  integer_store(row + 2u, column, sum2);
  integer_store(row + 3u, column, sum3);
}
