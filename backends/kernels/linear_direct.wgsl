// Linear without workgroup memory and barriers: an invocation makes linear_rows x 4 outputs and walks all of k. For
// devices that are a CPU, where barriers cost most, and for whatever is too small for tiles.
//
// Formula, bindings, parameters: include/linear.wgsl. Workgroup: workgroup_x x 1 x 1 invocations along columns, in
// fours; y of the grid goes over rows in linear_rows (1 or 4).

override linear_rows: u32 = 1u;
override workgroup_x: u32 = 32u;

@compute @workgroup_size(workgroup_x, 1, 1)
fn linear_direct(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let column = (group.x * workgroup_x + t) * 4u;
  let row = group.y * linear_rows;
  let last = linear.columns - 1u;
  let blocks = linear.blocks;
  let block0 = min(column, last) * blocks;
  let block1 = min(column + 1u, last) * blocks;
  let block2 = min(column + 2u, last) * blocks;
  let block3 = min(column + 3u, last) * blocks;
  let last_row = linear.rows - 1u;
  let x0 = row * linear.x_stride;
  let x1 = min(row + 1u, last_row) * linear.x_stride;
  let x2 = min(row + 2u, last_row) * linear.x_stride;
  let x3 = min(row + 3u, last_row) * linear.x_stride;
  var total0 = vec4<f32>();
  var total1 = vec4<f32>();
  var total2 = vec4<f32>();
  var total3 = vec4<f32>();
  for (var first = 0u; first < blocks; first += LINEAR_GROUP) {
    let end = min(first + LINEAR_GROUP, blocks);
    var sum0 = vec4<f32>();
    var sum1 = vec4<f32>();
    var sum2 = vec4<f32>();
    var sum3 = vec4<f32>();
    for (var half = first * 2u; half < end * 2u; half += 1u) {
      let b = half >> 1u;
      let h = half & 1u;
      let w0 = weight_half(block0 + b, h);
      let w1 = weight_half(block1 + b, h);
      let w2 = weight_half(block2 + b, h);
      let w3 = weight_half(block3 + b, h);
      let at = half * 4u;
      sum0 = linear_half(sum0, x0 + at, w0, w1, w2, w3);
      if linear_rows > 1u {
        sum1 = linear_half(sum1, x1 + at, w0, w1, w2, w3);
        sum2 = linear_half(sum2, x2 + at, w0, w1, w2, w3);
        sum3 = linear_half(sum3, x3 + at, w0, w1, w2, w3);
      }
    }
    total0 += sum0;
    if linear_rows > 1u {
      total1 += sum1;
      total2 += sum2;
      total3 += sum3;
    }
  }
  linear_store4(row, column, total0);
  if linear_rows > 1u {
    linear_store4(row + 1u, column, total1);
    linear_store4(row + 2u, column, total2);
    linear_store4(row + 3u, column, total3);
  }
}
