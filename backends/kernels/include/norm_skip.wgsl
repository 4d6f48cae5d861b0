// norm.wgsl with a residual: v = x + skip + input_bias; it is also stored where something reads it (flag 8).
//
// Bindings: 4 = skip, 5 = input_bias (flag 4), 6 = sum (flag 8), 7 = y as float16 (flag 16).
// `skip_cells`: skip repeats after so many.

@group(0) @binding(4) var<storage, read_write> norm_skip: array<Lane>;
@group(0) @binding(5) var<storage, read_write> norm_input_bias: array<Lane>;
@group(0) @binding(6) var<storage, read_write> norm_sum: array<Lane>;
@group(0) @binding(7) var<storage, read_write> norm_halves: array<vec2<u32>>;

fn norm_value(at: u32, i: u32) -> Lane {
  var v = norm_x[at] + norm_skip[at % norm_params.skip_cells];
  if (norm_params.flags & 4u) != 0u {
    v += norm_input_bias[i];
  }
  return v;
}
fn norm_keep(at: u32, v: Lane) {
  if (norm_params.flags & 8u) != 0u {
    norm_sum[at] = v;
  }
}
