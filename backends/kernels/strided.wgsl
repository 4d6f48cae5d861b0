// y[i] = x[place(i)]: Transpose, Slice, Split, Expand, Tile of whole cells.
//
// Bindings: group 0, 0 = x, 1 = y (may not alias x). Workgroup: 64 x 1 x 1, one cell each; a wide dispatch
// continues in y. Comes after include/strided.wgsl and include/cells_*.wgsl.

@group(0) @binding(0) var<storage, read_write> strided_x: array<Cell>;
@group(0) @binding(1) var<storage, read_write> strided_y: array<Cell>;

@compute @workgroup_size(64, 1, 1)
fn strided(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.y * groups.x * 64u + id.x;
  if i < strided_params.count {
    strided_y[strided_params.first + i] = strided_x[strided_place(i)];
  }
}
