enable subgroups;
// Linear of few rows, fastest: a subgroup makes two columns, its invocations take blocks in turn, and their sums are
// added by the device in an order of its own (numerics FAST).
//
// Formula, bindings, parameters: include/linear.wgsl. Workgroup: 128 x 1 x 1, two columns per subgroup (x of the grid,
// at least enough for the largest subgroups) of linear_rows (1 or 4) rows (y).

override linear_rows: u32 = 1u;

fn linear_dot(sum: f32, x: vec4<f32>, w: vec4<f32>) -> f32 {
  return fma(x.w, w.w, fma(x.z, w.z, fma(x.y, w.y, fma(x.x, w.x, sum))));
}

fn linear_dot_half(sum: f32, at: u32, w: WeightHalf) -> f32 {
  var s = linear_dot(sum, linear_x[at], w.a);
  s = linear_dot(s, linear_x[at + 1u], w.b);
  s = linear_dot(s, linear_x[at + 2u], w.c);
  return linear_dot(s, linear_x[at + 3u], w.d);
}

@compute @workgroup_size(128, 1, 1)
fn linear_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32,
                   @builtin(num_subgroups) subgroups: u32, @builtin(subgroup_invocation_id) lane: u32,
                   @builtin(subgroup_size) size: u32) {
  let column = (group.x * subgroups + subgroup) * 2u;
  let row = group.y * linear_rows;
  let blocks = linear.blocks;
  let last = linear.columns - 1u;
  let block0 = min(column, last) * blocks;
  let block1 = min(column + 1u, last) * blocks;
  let last_row = linear.rows - 1u;
  let x0 = row * linear.x_stride;
  let x1 = min(row + 1u, last_row) * linear.x_stride;
  let x2 = min(row + 2u, last_row) * linear.x_stride;
  let x3 = min(row + 3u, last_row) * linear.x_stride;
  var sum0 = vec2<f32>();
  var sum1 = vec2<f32>();
  var sum2 = vec2<f32>();
  var sum3 = vec2<f32>();
  for (var b = lane; b < blocks; b += size) {
    for (var half = 0u; half < 2u; half += 1u) {
      let w0 = weight_half(block0 + b, half);
      let w1 = weight_half(block1 + b, half);
      let at = b * 8u + half * 4u;
      sum0 = vec2<f32>(linear_dot_half(sum0.x, x0 + at, w0), linear_dot_half(sum0.y, x0 + at, w1));
      if linear_rows > 1u {
        sum1 = vec2<f32>(linear_dot_half(sum1.x, x1 + at, w0), linear_dot_half(sum1.y, x1 + at, w1));
        sum2 = vec2<f32>(linear_dot_half(sum2.x, x2 + at, w0), linear_dot_half(sum2.y, x2 + at, w1));
        sum3 = vec2<f32>(linear_dot_half(sum3.x, x3 + at, w0), linear_dot_half(sum3.y, x3 + at, w1));
      }
    }
  }
  sum0 = subgroupAdd(sum0);
  if linear_rows > 1u {
    sum1 = subgroupAdd(sum1);
    sum2 = subgroupAdd(sum2);
    sum3 = subgroupAdd(sum3);
  }
  if lane == 0u {
    linear_store2(row, column, sum0);
    if linear_rows > 1u {
      linear_store2(row + 1u, column, sum1);
      linear_store2(row + 2u, column, sum2);
      linear_store2(row + 3u, column, sum3);
    }
  }
}
