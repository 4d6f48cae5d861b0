// The parts of attention_split.wgsl to one: y = sum of values exp(top of part - top) / sum of weights likewise, in the
// order of splits.
//
// Bindings: group 0, 0 = parts [batch, kv_head, query, split], 1 = y [batch, rows, heads dim]. Parameters: immediate, 32
// bytes. Workgroup: 64 x 1 x 1 for one query; a grid wider than one row of workgroups continues in y. What a query's
// splits have in common is read by all invocations at once, and values eight at a time: one after the other, the reads
// would be waited for one after the other.

struct AttentionMergeParams {
  count: u32,      // of queries
  rows: u32,
  kv_heads: u32,
  group: u32,
  dim: u32,
  splits: u32,     // at most 32
  pad0: u32,
  pad1: u32,
}

@group(0) @binding(0) var<storage, read_write> attention_merge_parts: array<f32>;
@group(0) @binding(1) var<storage, read_write> attention_merge_y: array<f32>;
var<immediate> attention_merge_params: AttentionMergeParams;

var<workgroup> attention_merge_tops: array<f32, 32>;
var<workgroup> attention_merge_totals: array<f32, 32>;
var<workgroup> attention_merge_weights: array<f32, 32>;

@compute @workgroup_size(64, 1, 1)
fn attention_merge(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) group: vec3<u32>,
                   @builtin(num_workgroups) groups: vec3<u32>) {
  let p = attention_merge_params;
  let i = group.y * groups.x + group.x;
  if i >= p.count {
    return;
  }
  let heads = p.kv_heads * p.group;
  let head = i % heads;
  let row = i / heads % p.rows;
  let batch = i / heads / p.rows;
  let query = row * p.group + head % p.group;
  let width = p.dim + 2u;
  let first = ((batch * p.kv_heads + head / p.group) * (p.rows * p.group) + query) * p.splits * width;
  if t < p.splits {
    attention_merge_tops[t] = attention_merge_parts[first + t * width];
    attention_merge_totals[t] = attention_merge_parts[first + t * width + 1u];
  }
  workgroupBarrier();
  var top = attention_merge_tops[0];
  for (var s = 1u; s < p.splits; s += 1u) {
    top = math_max(attention_merge_tops[s], top);
  }
  if t < p.splits {
    attention_merge_weights[t] = math_exp(attention_merge_tops[t] - top);
  }
  workgroupBarrier();
  var total = 0.0;
  for (var s = 0u; s < p.splits; s += 1u) {
    total = fma(attention_merge_totals[s], attention_merge_weights[s], total);
  }
  let scale = select(0.0, 1.0 / total, total > 0.0);
  for (var e = t; e < p.dim; e += 64u) {
    let at = first + 2u + e;
    var y = 0.0;
    for (var s = 0u; s < p.splits; s += 8u) {
      var values: array<f32, 8>;
      for (var n = 0u; n < 8u; n += 1u) {
        values[n] = attention_merge_parts[at + min(s + n, p.splits - 1u) * width];
      }
      for (var n = 0u; n < 8u && s + n < p.splits; n += 1u) {
        y = fma(values[n], attention_merge_weights[s + n], y);
      }
    }
    attention_merge_y[i * p.dim + e] = y * scale;
  }
}
