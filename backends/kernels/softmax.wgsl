// Softmax: y = e^(x - top) / sum of e^(x - top), LogSoftmax (`logarithm` 1): y = x - top - log(sum), over n
// cells that lie `inner` apart.
//
// Bindings: group 0, 0 = x, 1 = y (may not alias x). Workgroup: 64 x 1 x 1, one row; rows beyond a dispatch's
// width continue in y. Comes after include/lanes_*.wgsl (four only with inner = 1), row_sum.wgsl,
// row_max.wgsl.

struct SoftmaxParams {
  rows: u32,
  cells: u32,
  inner: u32,
  logarithm: u32,
}

@group(0) @binding(0) var<storage, read_write> softmax_x: array<Lane>;
@group(0) @binding(1) var<storage, read_write> softmax_y: array<Lane>;
var<immediate> softmax_params: SoftmaxParams;

@compute @workgroup_size(64, 1, 1)
fn softmax(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
  let row = group.y * groups.x + group.x;
  if row >= softmax_params.rows {
    return;
  }
  let cells = softmax_params.cells;
  let inner = softmax_params.inner;
  let base = row / inner * cells * inner + row % inner;
  // The first cell, not -infinity, which no constant may be; a row of nothing but -infinity gives NaN.
  var tops = softmax_x[base];
  for (var i = lane; i < cells; i += 64u) {
    tops = max(tops, softmax_x[base + i * inner]);
  }
  let top = row_max(lane, lane_largest(tops));
  var sums = Lane(0.0);
  for (var i = lane; i < cells; i += 64u) {
    sums += lane_exp(softmax_x[base + i * inner] - top);
  }
  let sum = row_sum(lane, lane_total(sums));
  let log_sum = math_log(sum);
  for (var i = lane; i < cells; i += 64u) {
    let v = softmax_x[base + i * inner] - top;
    if softmax_params.logarithm == 1u {
      softmax_y[base + i * inner] = v - log_sum;
    } else {
      softmax_y[base + i * inner] = lane_exp(v) / sum;
    }
  }
}
