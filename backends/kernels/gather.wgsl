// Gather along one axis: y[o, j, c] = x[o, index(j), c]. Data larger than a binding comes in slices of the
// axis, a dispatch each: rows of other slices are left alone. An index out of range gives `fill`.
//
// Bindings: group 0, 0 = x, 1 = indices (int32 or int64), 2 = y (aliases neither). Workgroup: 64 x 1 x 1, one
// cell of y each; a wide dispatch continues in y. Comes after include/gather_words.wgsl, gather_quads.wgsl,
// gather_half.wgsl or gather_half_quads.wgsl.

struct GatherParams {
  count: u32,        // cells of y
  row_cells: u32,    // cells of [c]
  n_indices: u32,
  dim: u32,          // of the axis
  slice_first: u32,  // x has rows slice_first ... slice_end - 1 of the axis
  slice_end: u32,
  index_words: u32,
  fill: u32,
  kind: u32,         // of the include
}

@group(0) @binding(1) var<storage, read_write> gather_indices: array<u32>;
var<immediate> gather_params: GatherParams;

@compute @workgroup_size(64, 1, 1)
fn gather(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.y * groups.x * 64u + id.x;
  if i >= gather_params.count {
    return;
  }
  let row = i / gather_params.row_cells;
  let j = row % gather_params.n_indices * gather_params.index_words;
  var index = gather_indices[j];
  var high = select(0u, 0xffffffffu, (index & 0x80000000u) != 0u);
  if gather_params.index_words == 2u {
    high = gather_indices[j + 1u];
  }
  // A negative index counts from the end; what is not in [-dim, dim) then lies outside as a word, too.
  let fits = high == select(0u, 0xffffffffu, (index & 0x80000000u) != 0u);
  index += select(0u, gather_params.dim, high == 0xffffffffu);
  if !fits || index >= gather_params.dim {
    if gather_params.slice_first == 0u {
      gather_fill(i);
    }
  } else if index >= gather_params.slice_first && index < gather_params.slice_end {
    let rows = gather_params.slice_end - gather_params.slice_first;
    let source = row / gather_params.n_indices * rows + index - gather_params.slice_first;
    gather_copy(i, source * gather_params.row_cells + i % gather_params.row_cells);
  }
}
