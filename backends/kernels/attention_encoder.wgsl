// tern.EncoderAttention: every query sees every key; a mask of any shape that broadcasts is added to the scores.
//
// Formula, parameters, workgroup: attention.wgsl. Bindings: group 0, 0 = q [batch, rows, heads dim], 1 = y alike, 2 = k,
// 3 = v [batch, keys, heads dim], 4 = mask.

@group(0) @binding(2) var<storage, read_write> attention_k: array<f32>;
@group(0) @binding(3) var<storage, read_write> attention_v: array<f32>;
@group(0) @binding(4) var<storage, read_write> attention_mask: array<f32>;

fn attention_query(batch: u32, kv_head: u32, query: u32, quad: u32) -> vec4<f32> {
  let at = attention_at(batch, kv_head, query) + quad * 4u;
  let n = attention.dim - quad * 4u;
  if n >= 4u {
    return vec4<f32>(attention_q[at], attention_q[at + 1u], attention_q[at + 2u], attention_q[at + 3u]);
  }
  let last = at + n - 1u;
  return select(vec4<f32>(), vec4<f32>(attention_q[at], attention_q[min(at + 1u, last)],
                                       attention_q[min(at + 2u, last)], 0.0), vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(n));
}

fn attention_kv_at(batch: u32, kv_head: u32, key: u32, quad: u32) -> u32 {
  return ((batch * attention.keys + key) * attention.kv_heads + kv_head) * attention.dim + quad * 4u;
}

fn attention_key(batch: u32, kv_head: u32, key: u32, quad: u32) -> vec4<f32> {
  let at = attention_kv_at(batch, kv_head, key, quad);
  let n = attention.dim - quad * 4u;
  if n >= 4u {
    return vec4<f32>(attention_k[at], attention_k[at + 1u], attention_k[at + 2u], attention_k[at + 3u]);
  }
  let last = at + n - 1u;
  return select(vec4<f32>(), vec4<f32>(attention_k[at], attention_k[min(at + 1u, last)],
                                       attention_k[min(at + 2u, last)], 0.0), vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(n));
}

fn attention_value(batch: u32, kv_head: u32, key: u32, quad: u32) -> vec4<f32> {
  let at = attention_kv_at(batch, kv_head, key, quad);
  let last = at + min(attention.dim - quad * 4u, 4u) - 1u;
  return vec4<f32>(attention_v[at], attention_v[min(at + 1u, last)], attention_v[min(at + 2u, last)],
                   attention_v[min(at + 3u, last)]);
}

fn attention_range(batch: u32, first_query: u32, last_query: u32) -> vec2<u32> {
  return vec2<u32>(0u, attention.keys);
}

fn attention_visible(batch: u32, query: u32, key: u32) -> bool {
  return true;
}

fn attention_bias(batch: u32, kv_head: u32, query: u32, key: u32) -> f32 {
  let p = attention;
  let row = min(query, p.rows - 1u);
  return attention_mask[batch * p.values + kv_head * p.mask_head + row * p.mask_row + key * p.splits];
}

@compute @workgroup_size(64, 1, 1)
fn attention_encoder(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  attention_block(t, workgroup);
}
