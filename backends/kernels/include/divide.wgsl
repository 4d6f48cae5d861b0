// a / b rounded to nearest, where devices may be off by an ulp or more: quantized graphs amplify a last bit.

// The rounding error of a * b (Dekker 1971): products of halves of significands are exact.
fn divide_product_error(a: f32, b: f32, product: f32) -> f32 {
  let a_scaled = a * 4097.0;
  let a_high = a_scaled - (a_scaled - a);
  let a_low = a - a_high;
  let b_scaled = b * 4097.0;
  let b_high = b_scaled - (b_scaled - b);
  let b_low = b - b_high;
  return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
}

fn divide_exact(a: f32, b: f32) -> f32 {
  let q = a / b;
  let product = q * b;
  let rest = (a - product) - divide_product_error(q, b, product);
  let better = q + rest / b;
  // Beyond these bounds the splitting overflows or loses bits.
  let inside = math_abs(q) < 1.0e30 && math_abs(q) > 1.0e-30 && math_abs(b) < 1.0e30 && math_abs(b) > 1.0e-30;
  return select(q, better, inside);
}
