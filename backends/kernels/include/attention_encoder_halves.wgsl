// attention_matrix_encoder.wgsl over queries, keys and values that their products stored as float16, times powers of two
// and of each four in the order 0 2 1 3 (linear_matrix.wgsl): a product of a query and a key does not mind, and sums of
// values are in that order, too. Queries are not scaled; products are.

@group(0) @binding(0) var<storage, read> attention_q: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> attention_y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> attention_k: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> attention_v: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> attention_y_halves: array<vec2<u32>>;

fn attention_store(at: u32, y: vec4<f32>) {
  if (attention.flags & 8u) != 0u {
    let half = y * 0.5;
    attention_y_halves[at] = vec2<u32>(pack2x16float(half.xy), pack2x16float(half.zw));
  } else {
    attention_y[at] = y.xzyw;
  }
}

fn attention_query(batch: u32, kv_head: u32, query: u32, quad: u32) -> vec4<f32> {
  let words = attention_q[attention_place(batch, kv_head, query) / 4u + quad];
  return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}

fn attention_part(batch: u32, kv_head: u32, key: u32, part: u32) -> u32 {
  return ((batch * attention.keys + key) * attention.kv_heads + kv_head) * (attention.dim / 8u) + part;
}

fn attention_key_part(batch: u32, kv_head: u32, key: u32, part: u32) -> vec4<u32> {
  return attention_k[attention_part(batch, kv_head, key, part)];
}

fn attention_value_part(batch: u32, kv_head: u32, key: u32, part: u32) -> vec4<u32> {
  return attention_v[attention_part(batch, kv_head, key, part)];
}
