// Reductions of float32 to few results of many elements each (op: sum, mean, max, min, product, sum of
// squares, L1, L2, log of the sum, log of the sum of exponentials).
//
// Bindings: group 0, 0 = x, 1 = y (may not alias x). Workgroup: 64 x 1 x 1, one result; more than a
// dispatch's width continue in y. 64 partial results, joined in one order everywhere. Comes after
// include/larger.wgsl, row_max.wgsl and reduce_op.wgsl.

var<workgroup> reduce_parts: array<f32, 64>;
var<workgroup> reduce_eights: array<f32, 8>;

@compute @workgroup_size(64, 1, 1)
fn reduce_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
  let i = group.y * groups.x + group.x;
  if i >= reduce_params.count {
    return;
  }
  let base = reduce_base(i);
  let first = reduce_x[base];
  var top = first;
  if op == 9u {
    for (var j = lane; j < reduce_params.n; j += 64u) {
      top = larger(top, reduce_x[base + reduce_element(j)]);
    }
    top = row_max(lane, top);
  }
  var part = reduce_start(first);
  for (var j = lane; j < reduce_params.n; j += 64u) {
    part = reduce_join(part, reduce_term(reduce_x[base + reduce_element(j)], top));
  }
  reduce_parts[lane] = part;
  workgroupBarrier();
  if lane < 8u {
    for (var k = lane + 8u; k < 64u; k += 8u) {
      part = reduce_join(part, reduce_parts[k]);
    }
    reduce_eights[lane] = part;
  }
  workgroupBarrier();
  if lane == 0u {
    for (var k = 1u; k < 8u; k += 1u) {
      part = reduce_join(part, reduce_eights[k]);
    }
    reduce_y[i] = reduce_finish(part, top);
  }
}
