// erf, erfc. No division.
//
// |x| < 0.92: erf(x) = x + x p(x^2), p of degree 5. Else erfc(a) = exp(-(a + a q(a))), q of degree 7 on
// [0.92, 4]. Remez, minimax.py "erf" (relative error 1.6e-8) and "erfc" (5.6e-9); the two-piece form is N.
// Juffa's. erfc alone needs no precision near erf's zero: one piece, "erfc_all" (3.0e-8).

// erf(x) for |x| < 0.925.
fn math_erf_near_zero(x: f32) -> f32 {
  let s = x * x;
  var p = fma(-0.000598180748, s, 0.00499164127);
  p = fma(p, s, -0.0267658047);
  p = fma(p, s, 0.112818047);
  p = fma(p, s, -0.376124948);
  p = fma(p, s, 0.128379151);
  return fma(p, x, x);
}

// erfc(a) for a in [0.92, 4].
fn math_erfc_tail(a: f32) -> f32 {
  var q = fma(3.14872409e-6, a, -2.35565494e-5);
  q = fma(q, a, -0.000162909259);
  q = fma(q, a, 0.00324610947);
  q = fma(q, a, -0.0231896751);
  q = fma(q, a, 0.105755083);
  q = fma(q, a, 0.635370314);
  q = fma(q, a, 0.12860699);
  return math_exp_sum(-fma(q, a, a), 0.0);
}

// Error function. Error: 1.04 ulp over all floats (1.2 where fma rounds twice).
fn math_erf(x: f32) -> f32 {
  let a = math_abs(x);
  let outer = 1.0 - math_erfc_tail(math_min(a, 4.0));
  let magnitude = select(outer, math_erf_near_zero(a), a < 0.92);
  return select(math_copy_sign(magnitude, x), x, math_is_nan(x));
}

// erfc(a) for a >= 0; 0 from 4 on. Error: 4.1 ulp or 3e-8; no NaN.
fn math_erfc_positive(a: f32) -> f32 {
  let b = math_min(a, 4.0);
  var q = fma(-5.53047312e-06, b, 7.94939042e-05);
  q = fma(q, b, -0.000473354507);
  q = fma(q, b, 0.00131486158);
  q = fma(q, b, 0.000283061818);
  q = fma(q, b, -0.0194732621);
  q = fma(q, b, 0.102903835);
  q = fma(q, b, 0.636595726);
  q = fma(q, b, 0.128380671);
  return select(math_exp_sum(-fma(q, b, b), 0.0), 0.0, a > 4.0);
}
