// tern.KvAttention of many queries (prefill) by cooperative matrices, over the float16 cache, after kv_store.wgsl.
//
// Formula, workgroup: include/attention_matrix.wgsl. Bindings: group 0, 0 = q [batch, rows, heads dim], 1 = y alike,
// 2 = keys, 3 = values (read) [batch, kv_heads, positions, dim] halves, some heads of them as in attention_cache.wgsl;
// the others: include/attention_causal.wgsl. Parameters: include/attention_params.wgsl. Grid: x = head of keys, counted
// over the batch, y = block of 64 queries, the last first: what takes longest begins first.
enable f16;
enable subgroups;
enable wgpu_cooperative_matrix;

@group(0) @binding(0) var<storage, read_write> attention_q: array<f32>;
@group(0) @binding(1) var<storage, read_write> attention_y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> attention_keys: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> attention_values: array<vec4<u32>>;

fn attention_place(batch: u32, kv_head: u32, query: u32) -> u32 {
  return attention_at(batch, kv_head, query);
}

fn attention_store(at: u32, y: vec4<f32>) {
  attention_y[at] = y;
}

// Element of either, in eights.
fn attention_part(batch: u32, kv_head: u32, key: u32, part: u32) -> u32 {
  let head = batch * attention.kv_heads + kv_head - attention.mask_head;
  return (head * attention.keys + key) * (attention.dim / 8u) + part;
}

fn attention_key_part(batch: u32, kv_head: u32, key: u32, part: u32) -> vec4<u32> {
  return attention_keys[attention_part(batch, kv_head, key, part)];
}

fn attention_value_part(batch: u32, kv_head: u32, key: u32, part: u32) -> vec4<u32> {
  return attention_values[attention_part(batch, kv_head, key, part)];
}

fn attention_sees(batch: u32, query: u32) -> vec2<u32> {
  return attention_range(batch, query, query);
}

@compute @workgroup_size(128, 1, 1)
fn attention_matrix_kv(@builtin(local_invocation_index) t: u32, @builtin(subgroup_id) subgroup: u32,
                       @builtin(subgroup_invocation_id) lane: u32, @builtin(workgroup_id) workgroup: vec3<u32>,
                       @builtin(num_workgroups) groups: vec3<u32>) {
  let head = workgroup.x + attention.mask_head;
  attention_matrix(t, subgroup, lane, head / attention.kv_heads, head % attention.kv_heads,
                   groups.y - 1u - workgroup.y);
}
