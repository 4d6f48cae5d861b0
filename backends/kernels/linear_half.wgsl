enable subgroups;
// Rows of x as float16 for linear_matrix.wgsl, each times a power of two that brings its largest value near 2^10, so
// that neither large rows overflow nor small values of a row lose digits; with a norm: of x normed (RMS).
//
// Bindings: group 0, 0 = x [rows, n], 1 = y: rows of n float16, of each four in the order 0 2 1 3 (weight_matrix.wgsl);
// then, for each row, what its products are to be multiplied by (float32), 2 = the norm's scale. Parameters: immediate,
// 16 bytes. Workgroup: 256 x 1 x 1, a row; rows beyond a dispatch's width continue in y. Comes after
// include/workgroup_total.wgsl.

struct LinearHalfParams {
  rows: u32,
  cells: u32,     // vec4s of a row of x: n / 4, a multiple of 8
  norm: u32,      // 1: there is one
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read_write> linear_half_x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> linear_half_y: array<u32>;
@group(0) @binding(2) var<storage, read_write> linear_half_scale: array<vec4<f32>>;
var<immediate> linear_half_params: LinearHalfParams;

fn linear_half_value(base: u32, i: u32, inverse: f32) -> vec4<f32> {
  let x = linear_half_x[base + i];
  if linear_half_params.norm != 0u {
    return x * inverse * linear_half_scale[i];
  }
  return x;
}

var<workgroup> linear_half_parts: array<f32, 256>;  // per subgroup

@compute @workgroup_size(256, 1, 1)
fn linear_half(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
               @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) subgroups: u32,
               @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) size: u32) {
  let p = linear_half_params;
  let row = group.y * groups.x + group.x;
  if row >= p.rows {
    return;
  }
  let base = row * p.cells;
  let t = subgroup * size + lane;
  var inverse = 1.0;
  if p.norm != 0u {
    var squares = vec4<f32>();
    for (var i = t; i < p.cells; i += 256u) {
      let x = linear_half_x[base + i];
      squares += x * x;
    }
    let part = (squares.x + squares.y) + (squares.z + squares.w);
    let sum = workgroup_total(part, subgroup, subgroups, lane);
    inverse = 1.0 / sqrt(sum / f32(p.cells * 4u) + p.epsilon);
  }
  var top = 0.0;
  for (var i = t; i < p.cells; i += 256u) {
    let size4 = abs(linear_half_value(base, i, inverse));
    top = math_max(math_max(math_max(size4.x, size4.y), math_max(size4.z, size4.w)), top);
  }
  top = subgroupMax(top);
  if lane == 0u {
    linear_half_parts[subgroup] = top;
  }
  workgroupBarrier();
  for (var i = 0u; i < subgroups; i += 1u) {
    top = math_max(linear_half_parts[i], top);
  }
  // Powers of two by their exponents, both normal. Infinities and NaN stay what they are.
  let exponent = clamp(bitcast<u32>(top) >> 23u, 11u, 253u);
  let up = bitcast<f32>((264u - exponent) << 23u);
  for (var i = t; i < p.cells; i += 256u) {
    let y = linear_half_value(base, i, inverse) * up;
    let at = (base + i) * 2u;
    linear_half_y[at] = pack2x16float(y.xz);
    linear_half_y[at + 1u] = pack2x16float(y.yw);
  }
  if t == 0u {
    linear_half_y[p.rows * p.cells * 2u + row] = (exponent - 10u) << 23u;
  }
}
