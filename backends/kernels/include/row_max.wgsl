// As row_sum.wgsl: the largest.

var<workgroup> row_max_parts: array<f32, 64>;
var<workgroup> row_max_eights: array<f32, 8>;

fn row_max(lane: u32, part: f32) -> f32 {
  row_max_parts[lane] = part;
  workgroupBarrier();
  if lane < 8u {
    var eight = row_max_parts[lane];
    for (var i = lane + 8u; i < 64u; i += 8u) {
      eight = max(eight, row_max_parts[i]);
    }
    row_max_eights[lane] = eight;
  }
  workgroupBarrier();
  var top = row_max_eights[0];
  for (var i = 1u; i < 8u; i += 1u) {
    top = max(top, row_max_eights[i]);
  }
  return top;
}
