// tern.LastRow: y[b] = x[b, fresh(b) - 1], the row of the last new position of each sequence; zeros where
// none is new.
//
// Bindings: group 0, 0 = x [batch, rows, n], 1 = positions (past, fresh) of each sequence, 2 = y [batch, n].
// Workgroup: 64 x 1 x 1, one word each; a wide dispatch continues in y.

struct LastRowParams {
  count: u32,
  n: u32,
  rows: u32,
}

@group(0) @binding(0) var<storage, read_write> last_row_x: array<u32>;
@group(0) @binding(1) var<storage, read_write> last_row_positions: array<vec2<i32>>;
@group(0) @binding(2) var<storage, read_write> last_row_y: array<u32>;
var<immediate> last_row_params: LastRowParams;

@compute @workgroup_size(64, 1, 1)
fn last_row(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.y * groups.x * 64u + id.x;
  if i >= last_row_params.count {
    return;
  }
  let b = i / last_row_params.n;
  let fresh = min(bitcast<u32>(max(last_row_positions[b].y, 0)), last_row_params.rows);
  var value = 0u;
  if fresh > 0u {
    value = last_row_x[(b * last_row_params.rows + fresh - 1u) * last_row_params.n + i % last_row_params.n];
  }
  last_row_y[i] = value;
}
