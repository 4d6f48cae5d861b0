// Pad of words in up to four dimensions: constant, edge, reflect or wrap.
//
// Bindings: group 0, 0 = x, 1 = y (may not alias x). mode: 0 constant, 1 edge, 2 reflect, 3 wrap; elements of
// two words have them as their innermost dimension. Workgroup: 64 x 1 x 1, one word each; a wide dispatch
// continues in y.

struct PadParams {
  count: u32,
  mode: u32,
  fill_even: u32,  // of words with an even index in the innermost dimension, and with an odd one
  fill_odd: u32,
  dim1: u32,       // y's three inner dimensions
  dim2: u32,
  dim3: u32,
  pad: u32,
  x_dims: vec4<u32>,
  before: vec4<i32>,
}

@group(0) @binding(0) var<storage, read_write> pad_x: array<u32>;
@group(0) @binding(1) var<storage, read_write> pad_y: array<u32>;
var<immediate> pad_params: PadParams;

// Position p of the padded axis in x; -1: outside.
fn pad_source(p: u32, before: i32, dim: u32) -> i32 {
  let n = bitcast<i32>(dim);
  let i = bitcast<i32>(p) - before;
  if i >= 0 && i < n {
    return i;
  }
  switch pad_params.mode {
    case 1u: { return clamp(i, 0, n - 1); }
    case 2u: { return select(2 * (n - 1) - i, -i, i < 0); }
    case 3u: { return (i % n + n) % n; }
    default: { return -1; }
  }
}

@compute @workgroup_size(64, 1, 1)
fn pad(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.y * groups.x * 64u + id.x;
  if i >= pad_params.count {
    return;
  }
  let dims = pad_params.x_dims;
  let before = pad_params.before;
  let i2 = i / pad_params.dim3;
  let i1 = i2 / pad_params.dim2;
  let s3 = pad_source(i % pad_params.dim3, before.w, dims.w);
  let s2 = pad_source(i2 % pad_params.dim2, before.z, dims.z);
  let s1 = pad_source(i1 % pad_params.dim1, before.y, dims.y);
  let s0 = pad_source(i1 / pad_params.dim1, before.x, dims.x);
  if min(min(s0, s1), min(s2, s3)) < 0 {
    pad_y[i] = select(pad_params.fill_even, pad_params.fill_odd, ((i % pad_params.dim3) & 1u) != 0u);
  } else {
    let s = bitcast<vec4<u32>>(vec4<i32>(s0, s1, s2, s3));
    pad_y[i] = pad_x[((s.x * dims.y + s.y) * dims.z + s.z) * dims.w + s.w];
  }
}
