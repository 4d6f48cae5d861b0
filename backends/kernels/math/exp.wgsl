// exp, expm1.
//
// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2; ln 2 is split in two so that n * LN2_HI is
// exact. expm1(r) = r + r^2 q(r), q of degree 4: Remez, minimax.py "exp", relative error 1.4e-8.

const MATH_LOG2E: f32 = 1.44269502;
const MATH_LN2_HI: f32 = 0.693145751953125;
const MATH_LN2_LO: f32 = 1.42860677e-6;

// expm1(r) for |r| <= ln 2 / 2.
fn math_expm1_reduced(r: f32) -> f32 {
  var q = fma(0.00138367352, r, 0.00836710632);
  q = fma(q, r, 0.041667752);
  q = fma(q, r, 0.16666539);
  q = fma(q, r, 0.49999997);
  return fma(q * r, r, r);
}

// exp(high + low), low a correction below one ulp of high. NaN in high gives some finite value.
fn math_exp_sum(high: f32, low: f32) -> f32 {
  let bounded = math_min(math_max(high, -110.0), 100.0);
  let n = round(bounded * MATH_LOG2E);
  let r = fma(n, -MATH_LN2_LO, fma(n, -MATH_LN2_HI, bounded)) + low;
  return math_scale_pow2(1.0 + math_expm1_reduced(r), i32(n));
}

// e^x. Error: 1.05 ulp over all floats; denormal results are right to one rounding.
fn math_exp(x: f32) -> f32 {
  return select(math_exp_sum(x, 0.0), x, math_is_nan(x));
}

// e^x - 1 without cancellation near 0. Error: 1.7 ulp.
fn math_expm1(x: f32) -> f32 {
  let bounded = math_min(math_max(x, -20.0), 100.0);
  let n = round(bounded * MATH_LOG2E);
  let r = fma(n, -MATH_LN2_LO, fma(n, -MATH_LN2_HI, bounded));
  // 2^n expm1(r) + (2^n - 1), at half the size and doubled at the end: 2^n itself overflows too early.
  let half_scale = bitcast<f32>(bitcast<u32>(min(i32(n), 128) + 126) << 23u);
  let scaled = fma(half_scale, math_expm1_reduced(r), half_scale - 0.5) * 2.0;
  let result = select(scaled, math_scale_pow2(1.0, i32(n)), n > 128.0);
  return select(select(result, x, math_abs(x) < 1.0e-30), x, math_is_nan(x));
}
