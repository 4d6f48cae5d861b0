// Y [m, n] = sums a_scale b_scale + bias: int32 sums of integer_matmul.wgsl to float32.
//
// Bindings: group 0, 0 = sums, 1 = y, 2 = a_scale, 3 = b_scale (one, or one per column), 4 = bias [n]. Parameters:
// immediate, 16 bytes. Workgroup: 64 x 1 x 1, one element each; a grid wider than one row of workgroups continues in y.

struct IntegerScaleParams {
  count: u32,
  n: u32,
  flags: u32,   // 1: b_scale per column; 2: bias
  pad: u32,
}

@group(0) @binding(0) var<storage, read_write> integer_scale_sums: array<i32>;
@group(0) @binding(1) var<storage, read_write> integer_scale_y: array<f32>;
@group(0) @binding(2) var<storage, read_write> integer_scale_a: array<f32>;
@group(0) @binding(3) var<storage, read_write> integer_scale_b: array<f32>;
@group(0) @binding(4) var<storage, read_write> integer_scale_bias: array<f32>;
var<immediate> integer_scale_params: IntegerScaleParams;

@compute @workgroup_size(64, 1, 1)
fn integer_scale(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let p = integer_scale_params;
  let i = id.y * groups.x * 64u + id.x;
  if i >= p.count {
    return;
  }
  let column = i % p.n;
  let scale = integer_scale_a[0] * integer_scale_b[select(0u, column, (p.flags & 1u) != 0u)];
  var y = f32(integer_scale_sums[i]) * scale;
  if (p.flags & 2u) != 0u {
    y += integer_scale_bias[column];
  }
  integer_scale_y[i] = y;
}
