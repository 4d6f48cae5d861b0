// As reduce_rows.wgsl for many results of few elements each: one invocation does a result, in order.
//
// Bindings: group 0, 0 = x, 1 = y (may not alias x). Workgroup: 64 x 1 x 1; a wide dispatch continues in y.
// Comes after include/larger.wgsl and reduce_op.wgsl.

@compute @workgroup_size(64, 1, 1)
fn reduce_lines(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.y * groups.x * 64u + id.x;
  if i >= reduce_params.count {
    return;
  }
  let base = reduce_base(i);
  let first = reduce_x[base];
  var top = first;
  if op == 9u {
    for (var j = 1u; j < reduce_params.n; j += 1u) {
      top = larger(top, reduce_x[base + reduce_element(j)]);
    }
  }
  var part = reduce_start(first);
  for (var j = 0u; j < reduce_params.n; j += 1u) {
    part = reduce_join(part, reduce_term(reduce_x[base + reduce_element(j)], top));
  }
  reduce_y[i] = reduce_finish(part, top);
}
