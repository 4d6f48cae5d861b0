// Trilu: y = x on one side of a diagonal of the last two dimensions, 0 on the other.
//
// Bindings: group 0, 0 = x, 1 = y (may not alias x). Workgroup: 64 x 1 x 1, one word each; a wide dispatch
// continues in y.

struct TriluParams {
  count: u32,     // words
  words: u32,     // of an element
  rows: u32,
  columns: u32,
  diagonal: i32,  // kept: column - row >= diagonal (upper) or <= (lower)
  upper: u32,
}

@group(0) @binding(0) var<storage, read_write> trilu_x: array<u32>;
@group(0) @binding(1) var<storage, read_write> trilu_y: array<u32>;
var<immediate> trilu_params: TriluParams;

@compute @workgroup_size(64, 1, 1)
fn trilu(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let p = trilu_params;
  let i = id.y * groups.x * 64u + id.x;
  if i >= p.count {
    return;
  }
  let element = i / p.words;
  let column = bitcast<i32>(element % p.columns);
  let row = bitcast<i32>(element / p.columns % p.rows);
  let kept = select(column - row <= p.diagonal, column - row >= p.diagonal, p.upper == 1u);
  trilu_y[i] = select(0u, trilu_x[i], kept);
}
