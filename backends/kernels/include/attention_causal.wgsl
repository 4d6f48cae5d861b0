// Queries on their way into causal attention, rotated by their positions, and which keys they see: what
// attention_cache.wgsl and attention_fresh.wgsl share.
//
// Bindings: group 0, 4 = (past, fresh) of each sequence (read), 5 = cos, 6 = sin.

// Read only, so that loops over keys count as uniform: never an activation.
@group(0) @binding(4) var<storage, read> attention_positions: array<vec2<i32>>;
@group(0) @binding(5) var<storage, read_write> attention_cos: array<f32>;
@group(0) @binding(6) var<storage, read_write> attention_sin: array<f32>;

// x, whose partner is `partner`, value d of a head at a position.
fn attention_turn(x: f32, partner: f32, d: u32, position: u32) -> f32 {
  let p = attention;
  let interleaved = (p.flags & 1u) != 0u;
  let column = position * p.half_rotary + rotary_column(d, p.half_rotary, interleaved);
  return rotary_turn(x, partner, rotary_is_first(d, p.half_rotary, interleaved), attention_cos[column],
                     attention_sin[column]);
}

fn attention_partner(d: u32) -> u32 {
  return rotary_partner(d, attention.half_rotary, (attention.flags & 1u) != 0u);
}

fn attention_turned(at: u32, d: u32, position: u32) -> f32 {
  let p = attention;
  if d >= p.dim {
    return 0.0;
  }
  let x = attention_q[at + d];
  if d >= 2u * p.half_rotary {
    return x;
  }
  return attention_turn(x, attention_q[at + attention_partner(d)], d, position);
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
