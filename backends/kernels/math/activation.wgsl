// Activations, as ONNX, PyTorch and Transformers.js define them. Limits are taken at +-infinity (silu(-inf) =
// -0, not NaN); NaN in, NaN out. Errors are against the exact function of the f32 arguments.

// max(x, 0)
fn math_relu(x: f32) -> f32 {
  return select(x, 0.0, x < 0.0);
}

// x sigmoid(x); a division. Error: 3.2 ulp or 1e-37.
fn math_silu(x: f32) -> f32 {
  return select(x, -120.0, x < -120.0) * math_sigmoid(x);
}

// x sigmoid(1.702 x), the approximation that CLIP names quick_gelu; a division. Error: 2.2 ulp or 5e-8.
fn math_gelu_sigmoid(x: f32) -> f32 {
  return select(x, -120.0, x < -120.0) * math_sigmoid(1.702 * x);
}

// x Phi(x) = max(x, 0) - |x| / 2 erfc(|x| / sqrt 2). Error: 1.3 ulp (3.8 where fma
// rounds twice) or 5e-8.
fn math_gelu_erf(x: f32) -> f32 {
  let a = math_abs(x);
  let rest = 0.5 * math_min(a, 8.0) * math_erfc_positive(a * 0.707106769);
  return math_relu(x) - rest;
}

// x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) = x sigmoid(2 ...); a division.
// Error: 2.4 ulp or 5e-8.
fn math_gelu_tanh(x: f32) -> f32 {
  let inner = 1.59576912 * fma(0.044715 * x * x, x, x);
  return select(x, -120.0, x < -120.0) * math_sigmoid(inner);
}

// log(1 + e^x) = max(x, 0) + log1p(e^-|x|). Error: 1.7 ulp.
fn math_softplus(x: f32) -> f32 {
  return math_relu(x) + math_log1p(math_exp(-math_abs(x)));
}

// x / (1 + |x|); a division. Error: 1.5 ulp.
fn math_softsign(x: f32) -> f32 {
  let a = math_abs(x);
  // From 2^25 on the quotient is 1; the bound keeps inf / inf away.
  let bounded = select(a, 33554432.0, a > 33554432.0);
  return math_copy_sign(bounded / (1.0 + bounded), x);
}

// x tanh(softplus(x)) without the log: with w = e^-|x|, tanh(softplus(x)) is
// w(w + 2) / (w(w + 2) + 2) for x < 0 and (1 + 2w) / (1 + 2w + 2w^2) for x >= 0. A division. Error: 4.5 ulp
// or 1e-37.
fn math_mish(x: f32) -> f32 {
  let w = math_exp(-math_abs(x));
  let numerator = select(fma(2.0, w, 1.0), w * (w + 2.0), x < 0.0);
  let denominator = numerator + select(2.0 * w * w, 2.0, x < 0.0);
  return select(x, -120.0, x < -120.0) * (numerator / denominator);
}

// x for x > 0, else alpha (e^x - 1). Error: 2 ulp.
fn math_elu(x: f32, alpha: f32) -> f32 {
  return select(x, alpha * math_expm1(x), x < 0.0);
}

// gamma elu(x, alpha). Error: 3.5 ulp.
fn math_selu(x: f32, alpha: f32, gamma: f32) -> f32 {
  return gamma * math_elu(x, alpha);
}

// max(x, 0) + min(0, alpha (e^(x / alpha) - 1)), alpha > 0; a division.
fn math_celu(x: f32, alpha: f32) -> f32 {
  return select(x, alpha * math_expm1(x / alpha), x < 0.0);
}

// x for x >= 0, else alpha x.
fn math_leaky_relu(x: f32, alpha: f32) -> f32 {
  return select(x, alpha * x, x < 0.0);
}

// x for x > alpha, else 0.
fn math_thresholded_relu(x: f32, alpha: f32) -> f32 {
  return select(x, 0.0, x <= alpha);
}

// alpha x + beta, held in [0, 1].
fn math_hard_sigmoid(x: f32, alpha: f32, beta: f32) -> f32 {
  let line = alpha * x + beta;
  return select(select(line, 1.0, line > 1.0), 0.0, line < 0.0);
}

// x hard_sigmoid(x, 1/6, 1/2)
fn math_hard_swish(x: f32) -> f32 {
  return select(x, -4.0, x < -4.0) * math_hard_sigmoid(x, 0.166666672, 0.5);
}

// x held in [low, high].
fn math_clip(x: f32, low: f32, high: f32) -> f32 {
  return select(select(x, low, x < low), high, x > high);
}
