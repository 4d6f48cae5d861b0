// The larger and the smaller of two; NaN if either is one.

fn larger(a: f32, b: f32) -> f32 {
  let kept = select(b, a, a > b);
  return select(select(kept, b, math_is_nan(b)), a, math_is_nan(a));
}

fn smaller(a: f32, b: f32) -> f32 {
  let kept = select(b, a, a < b);
  return select(select(kept, b, math_is_nan(b)), a, math_is_nan(a));
}
