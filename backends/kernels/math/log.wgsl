// log, log1p.
//
// x = 2^e m with m in [sqrt(1/2), sqrt(2)); log(1 + f) = f - f^2/2 + f^3 p(f), f = m - 1, p of degree 8:
// Remez, minimax.py "log", relative error 1.9e-9. The split of x is FreeBSD msun's.

// e ln 2 + log(1 + f) for f in [sqrt(1/2) - 1, sqrt(2) - 1].
fn math_log_reduced(f: f32, e: f32) -> f32 {
  var p = fma(0.0533767603, f, -0.109154068);
  p = fma(p, f, 0.121080272);
  p = fma(p, f, -0.125495687);
  p = fma(p, f, 0.142096385);
  p = fma(p, f, -0.16659373);
  p = fma(p, f, 0.200022221);
  p = fma(p, f, -0.250001669);
  p = fma(p, f, 0.333333135);
  let square = f * f;
  let tail = fma(square * f, p, fma(e, MATH_LN2_LO, -0.5 * square));
  return fma(e, MATH_LN2_HI, f + tail);
}

// Exponent e of the split above, from the bits of a positive normal x.
fn math_log_exponent(bits: u32) -> i32 {
  return bitcast<i32>(bits - 0x3f3504f3u) >> 23u;
}

// Results that no formula gives: NaN for x < 0 or NaN, -inf for 0, +inf for +inf; else value.
fn math_log_special(value: f32, x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  var result = bitcast<u32>(value);
  result = select(result, 0x7f800000u, bits == 0x7f800000u);
  result = select(result, 0x7fc00000u, bits > 0x7f800000u);
  result = select(result, 0xff800000u, (bits & 0x7fffffffu) == 0u);
  return bitcast<f32>(result);
}

// Natural logarithm. Error: 0.83 ulp.
fn math_log(x: f32) -> f32 {
  let is_small = x < 1.17549435e-38;
  let bits = bitcast<u32>(select(x, x * 8388608.0, is_small));
  let e = math_log_exponent(bits);
  let f = bitcast<f32>(bits - (bitcast<u32>(e) << 23u)) - 1.0;
  return math_log_special(math_log_reduced(f, f32(e - select(0, 23, is_small))), x);
}

// log(1 + x) without cancellation near 0: the rounding error of 1 + x is added back. Error: 1.5 ulp.
fn math_log1p(x: f32) -> f32 {
  let u = 1.0 + x;
  let error = select(x - (u - 1.0), 1.0 - (u - x), x >= 1.0);
  let bits = bitcast<u32>(u);
  let e = math_log_exponent(bits);
  let f = bitcast<f32>(bits - (bitcast<u32>(e) << 23u)) - 1.0;
  let shrink = bitcast<f32>(bitcast<u32>(127 - clamp(e, -126, 127)) << 23u);
  let result = math_log_reduced(fma(error, shrink, f), f32(e));
  return select(math_log_special(result, u), x, math_abs(x) < 1.0e-30);
}
