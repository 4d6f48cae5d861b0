// norm.wgsl without a residual: v = x.

fn norm_value(at: u32, i: u32) -> Lane {
  return norm_x[at];
}
fn norm_keep(at: u32, v: Lane) {}
