// X of a Linear in float32, and sums over it. Comes after weight_decode.wgsl, linear.wgsl.

@group(0) @binding(0) var<storage, read_write> linear_x: array<vec4<f32>>;

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
