// Linear of few rows: `lanes` invocations share four columns, each takes groups of 128 along k; the sums of groups meet
// in workgroup memory and are added in their order.
//
// Formula, bindings, parameters: include/linear.wgsl. Workgroup: 64 x 1 x 1, 64 / lanes fours of columns (x of the grid)
// of linear_rows (1 or 4) rows (y).

override linear_rows: u32 = 1u;

var<workgroup> linear_partial: array<vec4<f32>, 256>;

@compute @workgroup_size(64, 1, 1)
fn linear_vec(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let lane = t & (linear.lanes - 1u);
  let slot = t / linear.lanes;
  let column = (group.x * (64u / linear.lanes) + slot) * 4u;
  let row = group.y * linear_rows;
  let blocks = linear.blocks;
  let last = linear.columns - 1u;
  let block0 = min(column, last) * blocks;
  let block1 = min(column + 1u, last) * blocks;
  let block2 = min(column + 2u, last) * blocks;
  let block3 = min(column + 3u, last) * blocks;
  let last_row = linear.rows - 1u;
  let x0 = row * linear.x_stride;
  let x1 = min(row + 1u, last_row) * linear.x_stride;
  let x2 = min(row + 2u, last_row) * linear.x_stride;
  let x3 = min(row + 3u, last_row) * linear.x_stride;
  let groups = (blocks + LINEAR_GROUP - 1u) / LINEAR_GROUP;
  var total0 = vec4<f32>();
  var total1 = vec4<f32>();
  var total2 = vec4<f32>();
  var total3 = vec4<f32>();
  for (var round = 0u; round < groups; round += linear.lanes) {
    let first = (round + lane) * LINEAR_GROUP;
    let end = min(first + LINEAR_GROUP, blocks);
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    for (var b = first; b < end; b += 1u) {
      let at = b * 8u;
      var w0 = weight_half(block0 + b, 0u);
      var w1 = weight_half(block1 + b, 0u);
      var w2 = weight_half(block2 + b, 0u);
      var w3 = weight_half(block3 + b, 0u);
      sum0 = linear_half(sum0, x0 + at, w0, w1, w2, w3);
      if linear_rows > 1u {
        sum1 = linear_half(sum1, x1 + at, w0, w1, w2, w3);
        sum2 = linear_half(sum2, x2 + at, w0, w1, w2, w3);
        sum3 = linear_half(sum3, x3 + at, w0, w1, w2, w3);
      }
      w0 = weight_half(block0 + b, 1u);
      w1 = weight_half(block1 + b, 1u);
      w2 = weight_half(block2 + b, 1u);
      w3 = weight_half(block3 + b, 1u);
      sum0 = linear_half(sum0, x0 + at + 4u, w0, w1, w2, w3);
      if linear_rows > 1u {
        sum1 = linear_half(sum1, x1 + at + 4u, w0, w1, w2, w3);
        sum2 = linear_half(sum2, x2 + at + 4u, w0, w1, w2, w3);
        sum3 = linear_half(sum3, x3 + at + 4u, w0, w1, w2, w3);
      }
    }
    linear_partial[t] = sum0;
    if linear_rows > 1u {
      linear_partial[64u + t] = sum1;
      linear_partial[128u + t] = sum2;
      linear_partial[192u + t] = sum3;
    }
    workgroupBarrier();
    if lane == 0u {
      for (var i = 0u; i < min(linear.lanes, groups - round); i += 1u) {
        total0 += linear_partial[t + i];
        if linear_rows > 1u {
          total1 += linear_partial[64u + t + i];
          total2 += linear_partial[128u + t + i];
          total3 += linear_partial[192u + t + i];
        }
      }
    }
    workgroupBarrier();
  }
  if lane == 0u {
    linear_store4(row, column, total0);
    if linear_rows > 1u {
      linear_store4(row + 1u, column, total1);
      linear_store4(row + 2u, column, total2);
      linear_store4(row + 3u, column, total3);
    }
  }
}
