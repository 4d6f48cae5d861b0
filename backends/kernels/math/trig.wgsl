// sin, cos.
//
// x = n pi/2 + r. Up to 2^13 pi/2 is split in five (Cody and Waite), all but the last of 11 bits, so that
// their products with n are exact, fused or not. Beyond, x / (2 pi) is taken modulo 1 in integers (Payne and
// Hanek, in N. Juffa's form).
// sin(r) = r + r^3 p(r^2), cos(r) = 1 - r^2/2 + r^4 q(r^2) on |r| <= pi/4: Remez, minimax.py "sin" (relative
// error 4.0e-9) and "cos" (1.2e-10).

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

// The upper 32 bits of a 64-bit product, from products of 16 bits.
fn math_mul_high(a: u32, b: u32) -> u32 {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let cross = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let other = (a & 0xffffu) * (b >> 16u) + (cross & 0xffffu);
  return (a >> 16u) * (b >> 16u) + (cross >> 16u) + (other >> 16u);
}

// Word k in 1..7 of the fraction of 1 / (2 pi), the uppermost first; 0 for k = 0. A tree, because compilers
// turn a chain of k == 1, k == 2 ... into a table, which does not vectorise.
fn math_turn_word(k: i32) -> u32 {
  let odd = (k & 1) != 0;
  let words_01 = select(0u, 0x28be60dbu, odd);
  let words_23 = select(0x9391054au, 0x7f09d5f4u, odd);
  let words_45 = select(0x7d4d3770u, 0x36d8a566u, odd);
  let words_67 = select(0x4f10e410u, 0x7f9458eau, odd);
  let lower_half = select(words_01, words_23, (k & 2) != 0);
  let upper_half = select(words_45, words_67, (k & 2) != 0);
  return select(lower_half, upper_half, (k & 4) != 0);
}

// Two words of the fraction, shifted left by n in 0..31.
fn math_funnel_shift(upper: u32, lower: u32, n: u32) -> u32 {
  return (upper << n) | ((lower >> 1u) >> (31u - n));
}

// |x| / (2 pi) modulo 1 as a fraction of 64 bits, for finite |x| >= 1: its upper word (part 1) or its lower
// (part 0).
fn math_turn_fraction(x: f32, part: u32) -> u32 {
  let bits = bitcast<u32>(x) & 0x7fffffffu;
  let exponent = bitcast<i32>(bits >> 23u) - 126;
  let significand = ((bits & 0x7fffffu) | 0x800000u) << 8u;
  let i = exponent >> 5u;
  let shift = bitcast<u32>(exponent) & 31u;
  let middle = math_turn_word(i + 1);
  let lower = math_turn_word(i + 2);
  let word_2 = math_funnel_shift(math_turn_word(i), middle, shift);
  let word_1 = math_funnel_shift(middle, lower, shift);
  let word_0 = math_funnel_shift(lower, math_turn_word(i + 3), shift);
  let carry_in = math_mul_high(significand, word_0);
  let low = significand * word_1 + carry_in;
  let carry = select(0u, 1u, low < carry_in);
  let high = significand * word_2 + math_mul_high(significand, word_1) + carry;
  return select(low, high, part == 1u);
}

// sin(x + quarter_turns pi/2).
fn math_sin_turned(x: f32, quarter_turns: i32) -> f32 {
  let is_near = math_abs(x) <= 8192.0;
  let near_x = select(0.0, x, is_near);
  let near_n = round(near_x * 0.636619747);
  var near_r = fma(near_n, -1.5703125, near_x);
  near_r = fma(near_n, -0.0004837512969970703, near_r);
  near_r = fma(near_n, -7.549533620476723e-8, near_r);
  near_r = fma(near_n, -2.5632829192545614e-12, near_r);
  near_r = fma(near_n, -6.123234262925839e-17, near_r);
  // The fraction's upper two bits count quarter turns; the rest, taken as signed, is r in 2^-62 of a quarter.
  let high = math_turn_fraction(x, 1u);
  let low = math_turn_fraction(x, 0u);
  let wraps = (high & 0x20000000u) != 0u;
  let flip = select(0u, 0xffffffffu, wraps);
  let rest_high = f32(bitcast<i32>((high ^ flip) & 0x1fffffffu)) * 4294967296.0;
  let rest = fma(f32(bitcast<i32>((low ^ flip) >> 1u)), 2.0, rest_high) * 3.40612158e-19;
  let is_negative = bitcast<u32>(x) >> 31u;
  let far_n = bitcast<i32>((high >> 30u) + select(0u, 1u, wraps));
  let far_r = bitcast<f32>(bitcast<u32>(rest) ^ ((flip & 0x80000000u) ^ (is_negative << 31u)));

  let r = select(far_r, near_r, is_near);
  let n = select(select(far_n, -far_n, is_negative == 1u), i32(near_n), is_near);
  let s = r * r;
  let quadrant = n + quarter_turns;
  let value = select(math_sin_reduced(r, s), math_cos_reduced(s), (quadrant & 1) != 0);
  let sign = (bitcast<u32>(quadrant) & 2u) << 30u;
  let is_finite = (bitcast<u32>(x) & 0x7fffffffu) < 0x7f800000u;
  return bitcast<f32>(select(0x7fc00000u, bitcast<u32>(value) ^ sign, is_finite));
}

// sin(x). Error: 2.7 ulp.
fn math_sin(x: f32) -> f32 {
  return math_sin_turned(x, 0);
}

// cos(x). Error: 2.7 ulp.
fn math_cos(x: f32) -> f32 {
  return math_sin_turned(x, 1);
}
