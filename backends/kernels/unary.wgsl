// y[i] = op(x[i]), i < count.
//
// Bindings: group 0, 0 = x, 1 = y (may not alias x). Parameters: immediate, 16 bytes.
// Workgroup: workgroup_x x 1 x 1 invocations, one element each; a dispatch wider than one row of workgroups
// continues in y. Sources: math/*.wgsl come before this file. `op` picks the formula; its numbers are
// kernels.def's.

override op: u32 = 0u;
override workgroup_x: u32 = 64u;

struct UnaryParams {
  count: u32,
  alpha: f32,
  beta: f32,
  pad: u32,
}

@group(0) @binding(0) var<storage, read_write> unary_x: array<f32>;
@group(0) @binding(1) var<storage, read_write> unary_y: array<f32>;
var<immediate> unary_params: UnaryParams;

fn unary_op(x: f32) -> f32 {
  let alpha = unary_params.alpha;
  let beta = unary_params.beta;
  switch op {
    case 1u: { return math_abs(x); }
    case 2u: { return -x; }
    case 3u: { return math_exp(x); }
    case 4u: { return math_log(x); }
    case 5u: { return math_sqrt(x); }
    case 6u: { return math_rsqrt(x); }
    case 7u: { return math_sin(x); }
    case 8u: { return math_cos(x); }
    case 9u: { return math_tanh(x); }
    case 10u: { return math_erf(x); }
    case 11u: { return math_sigmoid(x); }
    case 12u: { return math_round(x); }
    case 13u: { return math_floor(x); }
    case 14u: { return math_ceil(x); }
    case 15u: { return math_relu(x); }
    case 16u: { return math_silu(x); }
    case 17u: { return math_gelu_erf(x); }
    case 18u: { return math_gelu_tanh(x); }
    case 19u: { return math_gelu_sigmoid(x); }
    case 20u: { return math_softplus(x); }
    case 21u: { return math_softsign(x); }
    case 22u: { return math_mish(x); }
    case 23u: { return math_elu(x, alpha); }
    case 24u: { return math_selu(x, alpha, beta); }
    case 25u: { return math_celu(x, alpha); }
    case 26u: { return math_leaky_relu(x, alpha); }
    case 27u: { return math_thresholded_relu(x, alpha); }
    case 28u: { return math_hard_sigmoid(x, alpha, beta); }
    case 29u: { return math_hard_swish(x); }
    case 30u: { return math_clip(x, alpha, beta); }
    case 31u: { return 1.0 / x; }
    case 32u: { return math_pow(x, alpha); }
    case 33u: { return select(x, 0.0, alpha * x < -120.0) * math_sigmoid(alpha * x); }
    case 34u: { return select(select(0.0, 1.0, x > 0.0), -1.0, x < 0.0); }
    default: { return x; }
  }
}

@compute @workgroup_size(workgroup_x, 1, 1)
fn unary(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.y * groups.x * workgroup_x + id.x;
  if i < unary_params.count {
    unary_y[i] = unary_op(unary_x[i]);
  }
}
