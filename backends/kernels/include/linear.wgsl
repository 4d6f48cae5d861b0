// Y [m, n] = X [m, k] W^T + bias, W in any weight format: what the kernels linear_*.wgsl share.
//
// Bindings: group 0, 0 = x (rows of whole blocks: linear_x.wgsl), 1 = y, 2 = bias, 3, 4 = further outputs (or 3 = a residual),
// then weights (weight_decode.wgsl): linear_bindings.wgsl, or linear_chained.wgsl. Columns go to the outputs in turn: width0
// to y, width1 to binding 3, width2 to binding 4. Parameters: immediate, 64 bytes.
//
// One order of additions in all kernels but linear_subgroup, so that a row's result depends neither on how many rows
// there are nor on the kernel: along k, one fma after the other within a group of 128; then group after group; then
// the bias; then the residual.

struct LinearParams {
  rows: u32,       // m
  columns: u32,    // rows of the weights bound here
  blocks: u32,     // of 32 along k
  x_stride: u32,   // vec4s from row to row; linear_dot: chain.wgsl's word
  first: u32,      // column that the first bound row of the weights makes
  has_bias: u32,
  ending: u32,     // LINEAR_*
  lanes: u32,      // linear_vec: invocations per four columns, a power of two; linear_dot*: runs of blocks of a
                   // column, likewise
  width0: u32,
  width1: u32,
  width2: u32,
  residual: u32,   // binding 3 is no output but what is added to y, [m, n]
  norm: u32,       // linear_dot*: x is an RMS norm's input, to which the norm's scale was applied
  epsilon: f32,    // the norm's; linear_matrix: what y is multiplied by on its way to halves, a power of two
  round: u32,      // linear_dot: LINEAR_ROUND_*
  x_scale: f32,    // linear_matrix: what sums are multiplied by; 0: a number for each row, behind x
}

const LINEAR_GROUP: u32 = 4u;  // blocks

// Whether the row y is written rounded, too (linear_round.wgsl), into binding 4; and then, whether it is multiplied by
// an RMS norm's scale before, which is in the bias's place.
const LINEAR_ROUND_PLAIN: u32 = 1u;
const LINEAR_ROUND_SCALED: u32 = 2u;

// What becomes of a sum: nothing more, an activation, or two columns (gate, up) give one value f(gate) up.
const LINEAR_PLAIN: u32 = 0u;
const LINEAR_GELU_ERF: u32 = 1u;
const LINEAR_GELU_TANH: u32 = 2u;
const LINEAR_GELU_SIGMOID: u32 = 3u;
const LINEAR_RELU: u32 = 4u;
const LINEAR_TANH: u32 = 5u;
const LINEAR_SIGMOID: u32 = 6u;
const LINEAR_GATED: u32 = 8u;  // and from here on
const LINEAR_GATED_SILU: u32 = 8u;
const LINEAR_GATED_GELU_ERF: u32 = 9u;
const LINEAR_GATED_GELU_TANH: u32 = 10u;

var<immediate> linear: LinearParams;

fn linear_put(row: u32, column: u32, y: f32) {
  if column < linear.width0 {
    linear_y[row * linear.width0 + column] = y;
  } else if column < linear.width0 + linear.width1 {
    linear_y1[row * linear.width1 + column - linear.width0] = y;
  } else {
    linear_y2[row * linear.width2 + column - linear.width0 - linear.width1] = bitcast<u32>(y);
  }
}

// What is added to a row's columns `column` and the one after it.
fn linear_residual2(row: u32, column: u32) -> vec2<f32> {
  var residual = vec2<f32>();
  if linear.residual != 0u && row < linear.rows && column < linear.columns {
    let at = row * linear.width0 + linear.first + column;
    residual.x = linear_y1[at];
    if column + 1u < linear.columns {
      residual.y = linear_y1[at + 1u];
    }
  }
  return residual;
}

// What a sum, its bias included, becomes.
fn linear_ending(sum: f32, residual: f32) -> f32 {
  var y = sum;
  switch linear.ending {
    case LINEAR_GELU_ERF: { y = math_gelu_erf(y); }
    case LINEAR_GELU_TANH: { y = math_gelu_tanh(y); }
    case LINEAR_GELU_SIGMOID: { y = math_gelu_sigmoid(y); }
    case LINEAR_RELU: { y = math_relu(y); }
    case LINEAR_TANH: { y = math_tanh(y); }
    case LINEAR_SIGMOID: { y = math_sigmoid(y); }
    default: {}
  }
  if linear.residual != 0u {
    y += residual;
  }
  return y;
}

// What column `at` of Y becomes.
fn linear_ended(at: u32, sum: f32, residual: f32) -> f32 {
  var y = sum;
  if linear.has_bias != 0u {
    y += linear_bias[at];
  }
  return linear_ending(y, residual);
}

fn linear_gated(gate: f32, up: f32) -> f32 {
  switch linear.ending {
    case LINEAR_GATED_GELU_ERF: { return up * math_gelu_erf(gate); }
    case LINEAR_GATED_GELU_TANH: { return up * math_gelu_tanh(gate); }
    default: { return up * math_silu(gate); }
  }
}

// One column.
fn linear_finish(row: u32, column: u32, sum: f32, residual: f32) {
  if row < linear.rows && column < linear.columns {
    let at = linear.first + column;
    linear_put(row, at, linear_ended(at, sum, residual));
  }
}

fn linear_store(row: u32, column: u32, sum: f32) {
  linear_finish(row, column, sum, linear_residual2(row, column).x);
}

// Columns column (even) and column + 1 as gate and up.
fn linear_store_gated(row: u32, column: u32, gate: f32, up: f32) {
  if row < linear.rows && column < linear.columns {
    linear_put(row, (linear.first + column) / 2u, linear_gated(gate, up));
  }
}

// Two columns from an even one on, and what linear_residual2 gave for them.
fn linear_finish2(row: u32, column: u32, sum: vec2<f32>, residual: vec2<f32>) {
  if linear.ending >= LINEAR_GATED {
    linear_store_gated(row, column, sum.x, sum.y);
  } else {
    linear_finish(row, column, sum.x, residual.x);
    linear_finish(row, column + 1u, sum.y, residual.y);
  }
}

fn linear_store2(row: u32, column: u32, sum: vec2<f32>) {
  linear_finish2(row, column, sum, linear_residual2(row, column));
}

// Four columns from a multiple of four on.
fn linear_store4(row: u32, column: u32, sums: vec4<f32>) {
  if linear.ending >= LINEAR_GATED {
    linear_store_gated(row, column, sums.x, sums.y);
    linear_store_gated(row, column + 2u, sums.z, sums.w);
  } else {
    for (var i = 0u; i < 4u; i += 1u) {
      linear_store(row, column + i, sums[i]);
    }
  }
}
