// Roots and reciprocals. sqrt is correctly rounded in C (IEEE 754) and on the drivers we measured; Vulkan and WebGPU allow a GPU 3 ulp.

// sqrt(x); NaN for x < 0.
fn math_sqrt(x: f32) -> f32 {
  return sqrt(x);
}

// 1 / sqrt(x); a division. BOUND_RSQRT
fn math_rsqrt(x: f32) -> f32 {
  return 1.0 / sqrt(x);
}
