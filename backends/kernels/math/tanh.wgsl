// tanh, sigmoid. One division each.

// tanh(x) = t / (t + 2), t = expm1(2 |x|). Error: 2.6 ulp over all floats.
fn math_tanh(x: f32) -> f32 {
  let t = math_expm1(2.0 * math_min(math_abs(x), 10.0));
  return select(math_copy_sign(t / (t + 2.0), x), x, math_is_nan(x));
}

// 1 / (1 + e^-x), through e^-|x| so that neither tail loses its digits. Error: 2.3 ulp.
fn math_sigmoid(x: f32) -> f32 {
  let e = math_exp(-math_abs(x));
  return select(1.0, e, x < 0.0) / (1.0 + e);
}
