// As row_sum.wgsl: the largest.

var<workgroup> row_max_parts: array<f32, 64>;

fn row_max(lane: u32, part: f32) -> f32 {
  row_max_parts[lane] = part;
  workgroupBarrier();
  var top = row_max_parts[0];
  for (var i = 1u; i < 64u; i += 1u) {
    top = max(top, row_max_parts[i]);
  }
  workgroupBarrier();
  return top;
}
