// y[r, k] = x[r, k], zero where k is beyond x's row: rows of whole blocks for the Linear kernels.
//
// Bindings: group 0, 0 = x, 1 = y. Parameters: immediate, 16 bytes. Workgroup: 64 x 1 x 1, one element of y each; a
// grid wider than one row of workgroups continues in y.

struct LinearPadParams {
  count: u32,    // elements of y
  width: u32,    // of a row of x
  padded: u32,   // of a row of y
  pad: u32,
}

@group(0) @binding(0) var<storage, read_write> linear_pad_x: array<f32>;
@group(0) @binding(1) var<storage, read_write> linear_pad_y: array<f32>;
var<immediate> linear_pad_params: LinearPadParams;

@compute @workgroup_size(64, 1, 1)
fn linear_pad(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let p = linear_pad_params;
  let i = id.y * groups.x * 64u + id.x;
  if i >= p.count {
    return;
  }
  let k = i % p.padded;
  var value = 0.0;
  if k < p.width {
    value = linear_pad_x[i / p.padded * p.width + k];
  }
  linear_pad_y[i] = value;
}
