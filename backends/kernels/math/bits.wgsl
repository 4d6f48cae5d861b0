// Bit-level helpers that the formulas share.
//
// Rules for every file in math/: scalars only; + - * fma, comparisons, select, bitcast, round, floor, sqrt
// and integer ops only (each exact or correctly rounded on every driver and in C; fma may round twice, and
// the stated bounds hold for both). Division is marked where it is used: drivers differ by 1 ulp there. No
// constant expression may yield an infinity or a NaN (WGSL forbids it), so those come out of run-time bits.
// NaN is told by its bits: a driver may assume that x == x. Each function states its largest error in ulp of
// the exact result, or its absolute error where that is the smaller demand, as measured against libm in
// double precision by tests/unit/test_kernel_math.c, with and without fused fma. C keeps denormals; a GPU may
// flush them, in and out. Write & and | on bool (&& and || branch), in parentheses, as WGSL wants them.

fn math_is_nan(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// |x|
fn math_abs(x: f32) -> f32 {
  return bitcast<f32>(bitcast<u32>(x) & 0x7fffffffu);
}

// |magnitude| with the sign of sign_source.
fn math_copy_sign(magnitude: f32, sign_source: f32) -> f32 {
  return bitcast<f32>((bitcast<u32>(magnitude) & 0x7fffffffu) | (bitcast<u32>(sign_source) & 0x80000000u));
}

// min and max that return the bound b when a is NaN: they make an index or exponent safe.
fn math_min(a: f32, b: f32) -> f32 {
  return select(b, a, a < b);
}

fn math_max(a: f32, b: f32) -> f32 {
  return select(b, a, a > b);
}

// value * 2^n for n in [-252, 254] in two exact steps and one rounding: overflows to infinity, underflows
// gradually (to zero where the device flushes denormals).
fn math_scale_pow2(value: f32, n: i32) -> f32 {
  let half_n = n >> 1u;
  let first = bitcast<f32>(bitcast<u32>(half_n + 127) << 23u);
  let second = bitcast<f32>(bitcast<u32>(n - half_n + 127) << 23u);
  return value * first * second;
}
