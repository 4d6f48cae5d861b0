// attention_matrix_encoder.wgsl over queries, keys and values in float32.

@group(0) @binding(0) var<storage, read_write> attention_q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> attention_y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> attention_k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> attention_v: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> attention_y_halves: array<vec2<u32>>;

fn attention_store(at: u32, y: vec4<f32>) {
  if (attention.flags & 8u) != 0u {
    let half = y * 0.5;
    attention_y_halves[at] = vec2<u32>(pack2x16float(half.xz), pack2x16float(half.yw));
  } else {
    attention_y[at] = y;
  }
}

fn attention_query(batch: u32, kv_head: u32, query: u32, quad: u32) -> vec4<f32> {
  return attention_q[attention_place(batch, kv_head, query) / 4u + quad];
}

// Quad of k and v.
fn attention_part(batch: u32, kv_head: u32, key: u32, part: u32) -> u32 {
  return ((batch * attention.keys + key) * attention.kv_heads + kv_head) * (attention.dim / 4u) + part * 2u;
}

fn attention_packed(a: vec4<f32>, b: vec4<f32>) -> vec4<u32> {
  return vec4<u32>(pack2x16float(a.xy), pack2x16float(a.zw), pack2x16float(b.xy), pack2x16float(b.zw));
}

fn attention_key_part(batch: u32, kv_head: u32, key: u32, part: u32) -> vec4<u32> {
  let at = attention_part(batch, kv_head, key, part);
  return attention_packed(attention_k[at], attention_k[at + 1u]);
}

fn attention_value_part(batch: u32, kv_head: u32, key: u32, part: u32) -> vec4<u32> {
  let at = attention_part(batch, kv_head, key, part);
  return attention_packed(attention_v[at], attention_v[at + 1u]);
}
