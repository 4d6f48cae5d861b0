// Roots. sqrt is correctly rounded in C (IEEE 754) and on lavapipe and SwiftShader; Vulkan and WebGPU let a
// GPU err.

// sqrt(x); NaN for x < 0.
fn math_sqrt(x: f32) -> f32 {
  return sqrt(x);
}

// 1 / sqrt(x); a division. Error: 1.5 ulp.
fn math_rsqrt(x: f32) -> f32 {
  return 1.0 / sqrt(x);
}
