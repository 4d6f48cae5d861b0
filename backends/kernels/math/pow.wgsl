// pow(x, y) = exp(y log |x|) with the logarithm and the product carried as unevaluated sums high + low.
//
// Products are made exact by splitting a factor at 12 bits (Dekker), so nothing leans on a fused fma.

// The upper 12 bits of the significand; x minus this is exact.
fn math_upper_half(x: f32) -> f32 {
  return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u);
}

// exp(y log(a)) for finite a > 0.
fn math_pow_positive(a: f32, y: f32) -> f32 {
  let is_small = a < 1.17549435e-38;
  let bits = bitcast<u32>(select(a, a * 8388608.0, is_small));
  let exponent = math_log_exponent(bits);
  let e = f32(exponent - select(0, 23, is_small));
  let f = bitcast<f32>(bits - (bitcast<u32>(exponent) << 23u)) - 1.0;
  // f - f^2 / 2 as s + s_low: the square of the upper half is exact.
  let f_high = math_upper_half(f);
  let s = f - 0.5 * f_high * f_high;
  let s_error = (f - s) - 0.5 * f_high * f_high;
  var p = fma(0.0533767603, f, -0.109154068);
  p = fma(p, f, 0.121080272);
  p = fma(p, f, -0.125495687);
  p = fma(p, f, 0.142096385);
  p = fma(p, f, -0.16659373);
  p = fma(p, f, 0.200022221);
  p = fma(p, f, -0.250001669);
  p = fma(p, f, 0.333333135);
  let s_low = s_error - 0.5 * (f + f_high) * (f - f_high) + f * f * f * p;
  // + e ln 2; the exponent term is the larger one unless it is zero.
  let base = e * MATH_LN2_HI;
  let sum = base + s;
  let sum_low = (base - sum) + s + s_low + e * MATH_LN2_LO;
  let log_high = math_upper_half(sum + sum_low);
  let log_low = (sum - log_high) + sum_low;
  // y (log_high + log_low), y split too.
  let y_high = math_upper_half(y);
  let product = y_high * log_high;
  let product_low = (y - y_high) * log_high + y * log_low;
  let bounded = math_min(math_max(product, -1000.0), 1000.0);
  return math_exp_sum(bounded, select(0.0, product_low, math_abs(product) < 200.0));
}

// x^y with IEEE 754's special cases: pow(x, 0) = pow(1, y) = 1, negative x only with whole y.
// Error: 2 ulp for |y log x| < 40, growing to 18 ulp at the ends of the range.
fn math_pow(x: f32, y: f32) -> f32 {
  let a = math_abs(x);
  let y_size = math_abs(y);
  let a_bits = bitcast<u32>(a);
  let y_is_whole = (y_size >= 8388608.0) | (floor(y) == y);
  // From 2^24 on every float is even.
  let y_parity = bitcast<u32>(i32(math_min(select(0.0, y_size, y_is_whole), 16777216.0))) & 1u;
  var result = bitcast<u32>(math_pow_positive(a, y));
  // |x| = 0 or inf; y = +-inf.
  let a_is_inf = a_bits == 0x7f800000u;
  let y_is_inf = bitcast<u32>(y_size) == 0x7f800000u;
  let is_extreme = (a_bits == 0u) | a_is_inf | y_is_inf;
  let extreme = select(select(0u, 0x7f800000u, a < 1.0), select(0u, 0x7f800000u, a > 1.0), y > 0.0);
  result = select(result, extreme, is_extreme);
  result = result | (bitcast<u32>(x) & (y_parity << 31u));
  let is_negative = (x < 0.0) & !a_is_inf;
  result = select(result, 0x7fc00000u, is_negative & !y_is_whole);
  result = select(result, 0x7fc00000u, math_is_nan(x) | math_is_nan(y));
  let is_one = ((a == 1.0) & y_is_inf) | (bitcast<u32>(x) == 0x3f800000u) | (y_size == 0.0);
  result = select(result, 0x3f800000u, is_one);
  return bitcast<f32>(result);
}
