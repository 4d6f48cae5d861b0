// Y [m, n] = X [m, k] W^T + bias, W in any weight format: what the kernels linear_*.wgsl share.
//
// Bindings: group 0, 0 = x (read, rows of whole blocks), 1 = y, 2 = bias (read), 3 .. 5 = weights
// (weight_decode.wgsl). Activations are declared read_write because all of them lie in one buffer. Parameters:
// immediate, 32 bytes.
//
// One order of additions in all kernels, so that a row's result depends neither on how many rows there are nor on the
// kernel: along k, one fma after the other within a group of 128; then group after group; then the bias.

struct LinearParams {
  rows: u32,       // m
  columns: u32,    // rows of the weights bound here
  blocks: u32,     // of 32 along k
  x_stride: u32,   // vec4s from row to row
  y_stride: u32,
  y_first: u32,    // column of y and bias that the first bound row of the weights makes
  has_bias: u32,
  lanes: u32,      // linear_vec: invocations per row of the weights, as a power of two
}

const LINEAR_GROUP: u32 = 4u;  // blocks
const WEIGHT_BINDING: u32 = 3u;

@group(0) @binding(0) var<storage, read_write> linear_x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> linear_y: array<f32>;
@group(0) @binding(2) var<storage, read_write> linear_bias: array<f32>;
var<immediate> linear: LinearParams;

fn linear_store(row: u32, column: u32, sum: f32) {
  if row < linear.rows && column < linear.columns {
    let at = linear.y_first + column;
    var y = sum;
    if linear.has_bias != 0u {
      y += linear_bias[at];
    }
    linear_y[row * linear.y_stride + at] = y;
  }
}

// Four columns at once: their weights of one quad of k, times x.
fn linear_quad(sum: vec4<f32>, x: vec4<f32>, w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>, w3: vec4<f32>) -> vec4<f32> {
  var s = fma(vec4<f32>(x.x), vec4<f32>(w0.x, w1.x, w2.x, w3.x), sum);
  s = fma(vec4<f32>(x.y), vec4<f32>(w0.y, w1.y, w2.y, w3.y), s);
  s = fma(vec4<f32>(x.z), vec4<f32>(w0.z, w1.z, w2.z, w3.z), s);
  return fma(vec4<f32>(x.w), vec4<f32>(w0.w, w1.w, w2.w, w3.w), s);
}

// Half a block of four columns, times the 16 values of x from `at` on.
fn linear_half(sum: vec4<f32>, at: u32, w0: WeightHalf, w1: WeightHalf, w2: WeightHalf, w3: WeightHalf) -> vec4<f32> {
  var s = linear_quad(sum, linear_x[at], w0.a, w1.a, w2.a, w3.a);
  s = linear_quad(s, linear_x[at + 1u], w0.b, w1.b, w2.b, w3.b);
  s = linear_quad(s, linear_x[at + 2u], w0.c, w1.c, w2.c, w3.c);
  return linear_quad(s, linear_x[at + 3u], w0.d, w1.d, w2.d, w3.d);
}
