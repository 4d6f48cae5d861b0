// tern.EncoderAttention of many queries by cooperative matrices: keys and values are rounded to float16 on their way
// (include/attention_encoder_f32.wgsl), or float16 in memory (include/attention_encoder_halves.wgsl).
//
// Formula, workgroup: include/attention_matrix.wgsl. Bindings: group 0, 0 = q [batch, rows, heads dim], 1 = y alike,
// 2 = k, 3 = v [batch, keys, heads dim], 4 = mask, of any shape that broadcasts, 5 = half of y as float16 in place of y
// (flag 8), of each four in the order 0 2 1 3 (weight_matrix.wgsl); y is a mean of halves and so fits. Parameters:
// include/attention_params.wgsl. Grid: x = block of 64 queries, y = batch and head.
enable f16;
enable subgroups;
enable wgpu_cooperative_matrix;

@group(0) @binding(4) var<storage, read_write> attention_mask: array<f32>;

// attention_at with group 1, which spares divisions.
fn attention_place(batch: u32, kv_head: u32, query: u32) -> u32 {
  return ((batch * attention.rows + query) * attention.kv_heads + kv_head) * attention.dim;
}

fn attention_range(batch: u32, first_query: u32, last_query: u32) -> vec2<u32> {
  return vec2<u32>(0u, attention.keys);
}

fn attention_sees(batch: u32, query: u32) -> vec2<u32> {
  return vec2<u32>(0u, attention.keys);
}

fn attention_bias(batch: u32, kv_head: u32, query: u32, key: u32) -> f32 {
  let p = attention;
  return attention_mask[batch * p.values + kv_head * p.mask_head + query * p.mask_row + key * p.splits];
}

@compute @workgroup_size(128, 1, 1)
fn attention_matrix_encoder(@builtin(local_invocation_index) t: u32, @builtin(subgroup_id) subgroup: u32,
                            @builtin(subgroup_invocation_id) lane: u32,
                            @builtin(workgroup_id) workgroup: vec3<u32>) {
  let p = attention;
  attention_matrix(t, subgroup, lane, workgroup.y / p.kv_heads, workgroup.y % p.kv_heads, workgroup.x);
}
