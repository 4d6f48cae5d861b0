// tern.KvAttention, after kv_store.wgsl: causal attention over the float16 cache.
//
// Formula, parameters, workgroup: attention.wgsl. Bindings: group 0, 0 = q [batch, rows, heads dim], 1 = y alike, 2 =
// keys, 3 = values (read) [batch, kv_heads, positions, dim] two halves to a word, 4 = (past, fresh) of each sequence
// (read), 5 = cos, 6 = sin.

@group(0) @binding(2) var<storage, read> attention_keys: array<u32>;
@group(0) @binding(3) var<storage, read> attention_values: array<u32>;
@group(0) @binding(4) var<storage, read> attention_positions: array<vec2<i32>>;
@group(0) @binding(5) var<storage, read_write> attention_cos: array<f32>;
@group(0) @binding(6) var<storage, read_write> attention_sin: array<f32>;

fn attention_turned(at: u32, d: u32, position: u32) -> f32 {
  let p = attention;
  if d >= p.dim {
    return 0.0;
  }
  let x = attention_q[at + d];
  if d >= 2u * p.half_rotary {
    return x;
  }
  let interleaved = (p.flags & 1u) != 0u;
  let partner = attention_q[at + rotary_partner(d, p.half_rotary, interleaved)];
  let column = position * p.half_rotary + rotary_column(d, p.half_rotary, interleaved);
  return rotary_turn(x, partner, rotary_is_first(d, p.half_rotary, interleaved), attention_cos[column],
                     attention_sin[column]);
}

fn attention_query(batch: u32, kv_head: u32, query: u32, quad: u32) -> vec4<f32> {
  let at = attention_at(batch, kv_head, query);
  let sequence = attention_positions[batch];
  let row = i32(query / attention.group);
  if row >= sequence.y {
    return vec4<f32>();
  }
  let position = u32(sequence.x + row);
  let d = quad * 4u;
  return vec4<f32>(attention_turned(at, d, position), attention_turned(at, d + 1u, position),
                   attention_turned(at, d + 2u, position), attention_turned(at, d + 3u, position));
}

// Word of four halves.
fn attention_word(batch: u32, kv_head: u32, key: u32, quad: u32) -> u32 {
  return ((batch * attention.kv_heads + kv_head) * attention.keys + key) * (attention.dim / 2u) + quad * 2u;
}

fn attention_key(batch: u32, kv_head: u32, key: u32, quad: u32) -> vec4<f32> {
  let at = attention_word(batch, kv_head, key, quad);
  let low = unpack2x16float(attention_keys[at]);
  if quad * 4u + 2u < attention.dim {
    return vec4<f32>(low, unpack2x16float(attention_keys[at + 1u]));
  }
  return vec4<f32>(low, 0.0, 0.0);
}

fn attention_value(batch: u32, kv_head: u32, key: u32, quad: u32) -> vec4<f32> {
  let at = attention_word(batch, kv_head, key, quad);
  let low = unpack2x16float(attention_values[at]);
  if quad * 4u + 2u < attention.dim {
    return vec4<f32>(low, unpack2x16float(attention_values[at + 1u]));
  }
  return vec4<f32>(low, 0.0, 0.0);
}

fn attention_first(position: i32) -> i32 {
  return select(0, max(0, position - i32(attention.window) + 1), attention.window != 0u);
}

fn attention_range(batch: u32, first_query: u32, last_query: u32) -> vec2<u32> {
  let sequence = attention_positions[batch];
  let first = i32(first_query / attention.group);
  let last = min(i32(last_query / attention.group), sequence.y - 1);
  if first > last {
    return vec2<u32>(0u, 0u);
  }
  return vec2<u32>(u32(attention_first(sequence.x + first)), u32(sequence.x + last + 1));
}

fn attention_visible(batch: u32, query: u32, key: u32) -> bool {
  let sequence = attention_positions[batch];
  let row = i32(query / attention.group);
  let position = sequence.x + row;
  return row < sequence.y && i32(key) <= position && i32(key) >= attention_first(position);
}

fn attention_bias(batch: u32, kv_head: u32, query: u32, key: u32) -> f32 {
  return 0.0;
}

@compute @workgroup_size(64, 1, 1)
fn attention_kv(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  attention_block(t, workgroup);
}
