// Keys and values of attention.wgsl from the float16 cache of kv_store.wgsl; queries are rotated on their way.
//
// Bindings: group 0, 2 = keys, 3 = values (read) [batch, kv_heads, positions, dim] two halves to a word, 4 = (past,
// fresh) of each sequence (read), 5 = cos, 6 = sin.

@group(0) @binding(2) var<storage, read> attention_keys: array<u32>;
@group(0) @binding(3) var<storage, read> attention_values: array<u32>;
// Read only, so that loops over keys count as uniform: never an activation.
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

// Element of the cache: value 4 quad of a key.
fn attention_element(batch: u32, kv_head: u32, key: u32, quad: u32) -> u32 {
  return ((batch * attention.kv_heads + kv_head) * attention.keys + key) * attention.dim + quad * 4u;
}

// Four halves from an element on, out of up to three words; those beyond the head are zero.
fn attention_halves(element: u32, words: vec3<u32>, quad: u32) -> vec4<f32> {
  let a = unpack2x16float(words.x);
  let b = unpack2x16float(words.y);
  var x = vec4<f32>(a, b);
  if (element & 1u) == 1u {
    x = vec4<f32>(a.y, b, unpack2x16float(words.z).x);
  }
  return select(vec4<f32>(), x, vec4<u32>(quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(attention.dim));
}

fn attention_key(batch: u32, kv_head: u32, key: u32, quad: u32) -> vec4<f32> {
  let element = attention_element(batch, kv_head, key, quad);
  let at = element / 2u;
  if (attention.dim & 3u) == 0u {
    return vec4<f32>(unpack2x16float(attention_keys[at]), unpack2x16float(attention_keys[at + 1u]));
  }
  let last = arrayLength(&attention_keys) - 1u;
  let words = vec3<u32>(attention_keys[at], attention_keys[min(at + 1u, last)], attention_keys[min(at + 2u, last)]);
  return attention_halves(element, words, quad);
}

fn attention_value(batch: u32, kv_head: u32, key: u32, quad: u32) -> vec4<f32> {
  let element = attention_element(batch, kv_head, key, quad);
  let at = element / 2u;
  if (attention.dim & 3u) == 0u {
    return vec4<f32>(unpack2x16float(attention_values[at]), unpack2x16float(attention_values[at + 1u]));
  }
  let last = arrayLength(&attention_values) - 1u;
  let words = vec3<u32>(attention_values[at], attention_values[min(at + 1u, last)], attention_values[min(at + 2u, last)]);
  return attention_halves(element, words, quad);
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
