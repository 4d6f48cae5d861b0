// Sums over the 64 invocations of a workgroup, in the same order on every device; every invocation gets the
// result. All 64 must call. By eights and eights of those: two barriers, and few reads that others repeat,
// which is what CPU drivers pay for.

var<workgroup> row_sum_parts: array<f32, 64>;
var<workgroup> row_sum_eights: array<f32, 8>;

fn row_sum(lane: u32, part: f32) -> f32 {
  row_sum_parts[lane] = part;
  workgroupBarrier();
  if lane < 8u {
    var eight = row_sum_parts[lane];
    for (var i = lane + 8u; i < 64u; i += 8u) {
      eight += row_sum_parts[i];
    }
    row_sum_eights[lane] = eight;
  }
  workgroupBarrier();
  var total = row_sum_eights[0];
  for (var i = 1u; i < 8u; i += 1u) {
    total += row_sum_eights[i];
  }
  return total;
}
