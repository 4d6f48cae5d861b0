// norm.wgsl: y times a power of two as float16, for linear_matrix.wgsl: of each four in the order 0 2 1 3
// (weight_matrix.wgsl).

fn norm_round(at: u32, y: Lane) {
  if (norm_params.flags & 16u) != 0u {
    let half = y * norm_params.up;
    norm_halves[at] = vec2<u32>(pack2x16float(half.xz), pack2x16float(half.yw));
  }
}
