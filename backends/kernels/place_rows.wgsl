// y[row * y_step + first + c] = x[row * row_cells + c]: one input of Concat.
//
// Bindings: group 0, 0 = x, 1 = y (may not alias x). Workgroup: 64 x 1 x 1, one cell each; a wide dispatch
// continues in y. Comes after include/cells_*.wgsl.

struct PlaceParams {
  count: u32,
  row_cells: u32,
  y_step: u32,
  first: u32,
}

@group(0) @binding(0) var<storage, read_write> place_x: array<Cell>;
@group(0) @binding(1) var<storage, read_write> place_y: array<Cell>;
var<immediate> place_params: PlaceParams;

@compute @workgroup_size(64, 1, 1)
fn place_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.y * groups.x * 64u + id.x;
  if i < place_params.count {
    let row = i / place_params.row_cells;
    place_y[row * place_params.y_step + place_params.first + i % place_params.row_cells] = place_x[i];
  }
}
