// y = condition ? a : b with NumPy broadcasting, of elements that are one word; wider ones have one more
// dimension, of their words, along which the condition does not step.
//
// Bindings: group 0, 0 = condition (bytes), 1 = a, 2 = b, 3 = y (aliases none).
// Workgroup: 64 x 1 x 1, one word each; a wide dispatch continues in y.

struct WhereParams {
  count: u32,
  dim1: u32,  // of the three inner of four dimensions
  dim2: u32,
  dim3: u32,
  condition_steps: vec4<u32>,
  a_steps: vec4<u32>,
  b_steps: vec4<u32>,
}

@group(0) @binding(0) var<storage, read_write> where_condition: array<u32>;
@group(0) @binding(1) var<storage, read_write> where_a: array<u32>;
@group(0) @binding(2) var<storage, read_write> where_b: array<u32>;
@group(0) @binding(3) var<storage, read_write> where_y: array<u32>;
var<immediate> where_params: WhereParams;

@compute @workgroup_size(64, 1, 1)
fn where_words(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.y * groups.x * 64u + id.x;
  if i >= where_params.count {
    return;
  }
  let d3 = i % where_params.dim3;
  let i2 = i / where_params.dim3;
  let d2 = i2 % where_params.dim2;
  let i1 = i2 / where_params.dim2;
  let at = vec4<u32>(i1 / where_params.dim1, i1 % where_params.dim1, d2, d3);
  let c = dot(at, where_params.condition_steps);
  if ((where_condition[c >> 2u] >> ((c & 3u) * 8u)) & 0xffu) != 0u {
    where_y[i] = where_a[dot(at, where_params.a_steps)];
  } else {
    where_y[i] = where_b[dot(at, where_params.b_steps)];
  }
}
