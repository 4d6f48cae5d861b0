// Sums over the 64 invocations of a workgroup, in the same order on every device; every invocation gets the result.
// All 64 must call. One barrier before the reads and one after cost less than a tree of them does on CPU drivers.

var<workgroup> row_sum_parts: array<f32, 64>;

fn row_sum(lane: u32, part: f32) -> f32 {
  row_sum_parts[lane] = part;
  workgroupBarrier();
  var total = vec4<f32>(0.0);
  for (var i = 0u; i < 64u; i += 4u) {
    total += vec4<f32>(row_sum_parts[i], row_sum_parts[i + 1u], row_sum_parts[i + 2u], row_sum_parts[i + 3u]);
  }
  workgroupBarrier();
  return (total.x + total.y) + (total.z + total.w);
}
