// sin, cos for |x| <= 2^17 (RoPE positions); NaN beyond, where the reduction would lose the argument.
//
// x = n pi/2 + r: pi/2 is split in five (Cody and Waite), all but the last of 7 bits, so that their products
// with n are exact, fused or not. sin(r) = r + r^3 p(r^2), cos(r) = 1 - r^2/2 + r^4 q(r^2) on |r| <= pi/4:
// Remez, minimax.py "sin" (relative error 4.0e-9) and "cos" (1.2e-10).

fn math_sin_reduced(r: f32, s: f32) -> f32 {
  var p = fma(-0.000195182831, s, 0.00833218917);
  p = fma(p, s, -0.166666552);
  return fma(p * s, r, r);
}

fn math_cos_reduced(s: f32) -> f32 {
  var q = fma(2.44323273e-5, s, -0.00138873095);
  q = fma(q, s, 0.0416666456);
  return fma(q * s, s, fma(-0.5, s, 1.0));
}

// sin(x + quarter_turns pi/2).
fn math_sin_turned(x: f32, quarter_turns: i32) -> f32 {
  let in_range = math_abs(x) <= 131072.0;
  let bounded = select(0.0, x, in_range);
  let n = round(bounded * 0.636619747);
  var r = fma(n, -1.578125, bounded);
  r = fma(n, 0.00732421875, r);
  r = fma(n, 4.470348358154297e-6, r);
  r = fma(n, -1.5832483768463135e-8, r);
  r = fma(n, -6.07710063e-11, r);
  let s = r * r;
  let quadrant = i32(n) + quarter_turns;
  let value = select(math_sin_reduced(r, s), math_cos_reduced(s), (quadrant & 1) != 0);
  let sign = (bitcast<u32>(quadrant) & 2u) << 30u;
  return bitcast<f32>(select(0x7fc00000u, bitcast<u32>(value) ^ sign, in_range));
}

// Error: 2.5 ulp.
fn math_sin(x: f32) -> f32 {
  return math_sin_turned(x, 0);
}

// Error: 2.5 ulp.
fn math_cos(x: f32) -> f32 {
  return math_sin_turned(x, 1);
}
