// y[i] = op(a, b) in float32 with NumPy broadcasting.
//
// Bindings: group 0, 0 = a, 1 = b, 2 = y (aliases neither). `kind` 1: b is a, and binding 1 is not read.
// Workgroup: 64 x 1 x 1, one element each; a wide dispatch continues in y. Comes after include/broadcast.wgsl
// and include/larger.wgsl. `op`: kernels.def's numbers.

override op: u32 = 0u;

@group(0) @binding(0) var<storage, read_write> binary_a: array<f32>;
@group(0) @binding(1) var<storage, read_write> binary_b: array<f32>;
@group(0) @binding(2) var<storage, read_write> binary_y: array<f32>;

fn binary_op(a: f32, b: f32) -> f32 {
  switch op {
    case 1u: { return a - b; }
    case 2u: { return a * b; }
    case 3u: { return a / b; }
    case 4u: { return larger(a, b); }
    case 5u: { return smaller(a, b); }
    case 6u: { return math_pow(a, b); }
    case 7u: { return select(a, a * b, a < 0.0); }
    case 8u: { return math_silu(a) * b; }
    case 9u: { return math_gelu_erf(a) * b; }
    case 10u: { return math_gelu_tanh(a) * b; }
    case 11u: { return math_gelu_erf(a + b); }
    case 12u: { return math_gelu_tanh(a + b); }
    default: { return a + b; }
  }
}

@compute @workgroup_size(64, 1, 1)
fn binary(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.y * groups.x * 64u + id.x;
  if i >= broadcast_params.count {
    return;
  }
  let at = broadcast_places(i);
  let a = binary_a[at.x];
  var b = a;
  if broadcast_params.kind == 0u {
    b = binary_b[at.y];
  }
  binary_y[broadcast_params.first + i] = binary_op(a, b);
}
