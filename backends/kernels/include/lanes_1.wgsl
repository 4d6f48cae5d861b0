// Row kernels read a row in lanes: one float here, four in lanes_4.wgsl, where rows are whole groups of four.
alias Lane = f32;

fn lane_total(v: Lane) -> f32 {
  return v;
}
fn lane_largest(v: Lane) -> f32 {
  return v;
}
fn lane_exp(v: Lane) -> Lane {
  return math_exp(v);
}
