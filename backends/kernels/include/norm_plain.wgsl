// norm.wgsl without a residual: v = x. Binding 4 = y as float16 (flag 16).

@group(0) @binding(4) var<storage, read_write> norm_halves: array<vec2<u32>>;

fn norm_value(at: u32, i: u32) -> Lane {
  return norm_x[at];
}
fn norm_keep(at: u32, v: Lane) {}
