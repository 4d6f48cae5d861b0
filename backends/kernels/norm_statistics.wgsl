// The optional outputs of norms: of each row the mean and 1 / sqrt(variance + epsilon). Not centred (flag 1
// unset): the mean is 0, the variance the mean square.
//
// Bindings: group 0, 0 = x, 1 = mean, 2 = inverse deviation. Workgroup: 64 x 1 x 1, one row; rows beyond a
// dispatch's width continue in y. Comes after include/row_sum.wgsl.

struct NormStatisticsParams {
  rows: u32,
  cells: u32,
  flags: u32,   // 2: mean is wanted, 4: inverse is
  epsilon: f32,
}

@group(0) @binding(0) var<storage, read_write> norm_statistics_x: array<f32>;
@group(0) @binding(1) var<storage, read_write> norm_statistics_mean: array<f32>;
@group(0) @binding(2) var<storage, read_write> norm_statistics_inverse: array<f32>;
var<immediate> norm_statistics_params: NormStatisticsParams;

@compute @workgroup_size(64, 1, 1)
fn norm_statistics(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                   @builtin(local_invocation_index) lane: u32) {
  let row = group.y * groups.x + group.x;
  if row >= norm_statistics_params.rows {
    return;
  }
  let cells = norm_statistics_params.cells;
  let base = row * cells;
  var mean = 0.0;
  if (norm_statistics_params.flags & 1u) != 0u {
    var sum = 0.0;
    for (var i = lane; i < cells; i += 64u) {
      sum += norm_statistics_x[base + i];
    }
    mean = row_sum(lane, sum) / f32(cells);
  }
  var squares = 0.0;
  for (var i = lane; i < cells; i += 64u) {
    let v = norm_statistics_x[base + i] - mean;
    squares += v * v;
  }
  let inverse = 1.0 / sqrt(row_sum(lane, squares) / f32(cells) + norm_statistics_params.epsilon);
  if lane == 0u {
    if (norm_statistics_params.flags & 2u) != 0u {
      norm_statistics_mean[row] = mean;
    }
    if (norm_statistics_params.flags & 4u) != 0u {
      norm_statistics_inverse[row] = inverse;
    }
  }
}
