// y = (v - mean) / sqrt(mean((v - mean)^2) + epsilon) scale + bias over rows of n: LayerNormalization (flag
// 1: centred) and RMSNormalization (mean taken as 0), with or without a residual (include/norm_skip.wgsl,
// norm_plain.wgsl).
//
// Bindings: group 0, 0 = x, 1 = scale, 2 = bias (flag 2), 3 = y (aliases none; flag 32: not stored), and one for y
// as float16 (flag 16; include/norm_halves_4.wgsl). Workgroup: 64 x 1 x 1, one row; rows beyond a dispatch's width
// continue in y. Sums in float32: 64 partial sums, then one order. Comes after include/lanes_*.wgsl, row_sum.wgsl,
// norm_plain.wgsl or norm_skip.wgsl, and norm_halves_*.wgsl.

struct NormParams {
  rows: u32,
  cells: u32,       // of a row
  skip_cells: u32,
  flags: u32,
  n: f32,           // elements of a row
  epsilon: f32,
  up: f32,          // what y is multiplied by on its way to float16, a power of two
}

@group(0) @binding(0) var<storage, read_write> norm_x: array<Lane>;
@group(0) @binding(1) var<storage, read_write> norm_scale: array<Lane>;
@group(0) @binding(2) var<storage, read_write> norm_bias: array<Lane>;
@group(0) @binding(3) var<storage, read_write> norm_y: array<Lane>;
var<immediate> norm_params: NormParams;

@compute @workgroup_size(64, 1, 1)
fn norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = group.y * groups.x + group.x;
  if row >= norm_params.rows {
    return;
  }
  let cells = norm_params.cells;
  let base = row * cells;
  var mean = 0.0;
  if (norm_params.flags & 1u) != 0u {
    var sum = Lane(0.0);
    for (var i = lane; i < cells; i += 64u) {
      sum += norm_value(base + i, i);
    }
    mean = row_sum(lane, lane_total(sum)) / norm_params.n;
  }
  var squares = Lane(0.0);
  for (var i = lane; i < cells; i += 64u) {
    let v = norm_value(base + i, i) - mean;
    squares += v * v;
  }
  let inverse = 1.0 / sqrt(row_sum(lane, lane_total(squares)) / norm_params.n + norm_params.epsilon);
  for (var i = lane; i < cells; i += 64u) {
    let v = norm_value(base + i, i);
    norm_keep(base + i, v);
    var y = (v - mean) * inverse * norm_scale[i];
    if (norm_params.flags & 2u) != 0u {
      y += norm_bias[i];
    }
    if (norm_params.flags & 32u) == 0u {
      norm_y[base + i] = y;
    }
    norm_round(base + i, y);
  }
}
