// The parts of attention_split.wgsl to one: y = sum of values exp(top of part - top) / sum of weights likewise, in the
// order of splits.
//
// Bindings: group 0, 0 = parts [batch, kv_head, query, split], 1 = y [batch, rows, heads dim]. Parameters: immediate, 32
// bytes. Workgroup: 64 x 1 x 1, one value each; a grid wider than one row of workgroups continues in y.

struct AttentionMergeParams {
  count: u32,      // of y
  rows: u32,
  kv_heads: u32,
  group: u32,
  dim: u32,
  splits: u32,
  pad0: u32,
  pad1: u32,
}

@group(0) @binding(0) var<storage, read_write> attention_merge_parts: array<f32>;
@group(0) @binding(1) var<storage, read_write> attention_merge_y: array<f32>;
var<immediate> attention_merge_params: AttentionMergeParams;

@compute @workgroup_size(64, 1, 1)
fn attention_merge(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let p = attention_merge_params;
  let i = id.y * groups.x * 64u + id.x;
  if i >= p.count {
    return;
  }
  let e = i % p.dim;
  let head = i / p.dim % (p.kv_heads * p.group);
  let row = i / p.dim / (p.kv_heads * p.group) % p.rows;
  let batch = i / p.dim / (p.kv_heads * p.group) / p.rows;
  let query = row * p.group + head % p.group;
  let width = p.dim + 2u;
  let first = ((batch * p.kv_heads + head / p.group) * (p.rows * p.group) + query) * p.splits * width;
  var top = attention_merge_parts[first];
  for (var s = 1u; s < p.splits; s += 1u) {
    top = math_max(attention_merge_parts[first + s * width], top);
  }
  var total = 0.0;
  var y = 0.0;
  for (var s = 0u; s < p.splits; s += 1u) {
    let at = first + s * width;
    let weight = math_exp(attention_merge_parts[at] - top);
    total = fma(attention_merge_parts[at + 1u], weight, total);
    y = fma(attention_merge_parts[at + 2u + e], weight, y);
  }
  attention_merge_y[i] = y * select(0.0, 1.0 / total, total > 0.0);
}
