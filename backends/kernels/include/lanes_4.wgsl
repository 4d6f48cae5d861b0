// As lanes_1.wgsl: four floats a lane.
alias Lane = vec4<f32>;

fn lane_total(v: Lane) -> f32 {
  return (v.x + v.y) + (v.z + v.w);
}
fn lane_largest(v: Lane) -> f32 {
  return max(max(v.x, v.y), max(v.z, v.w));
}
fn lane_exp(v: Lane) -> Lane {
  return vec4<f32>(math_exp(v.x), math_exp(v.y), math_exp(v.z), math_exp(v.w));
}
