// Keys and values of attention.wgsl from the float16 cache, those of the new rows from where they were computed: each
// workgroup that needs them rotates and rounds them first, and the first one of a head of keys stores them in the cache.
// Nobody reads what is being stored. For at most 4 new rows, heads of whole quads. Comes after attention_causal.wgsl; the
// kernel says how many its ATTENTION_INVOCATIONS are.
//
// Bindings: group 0, 2 = k, 3 = v [batch, rows, kv_heads dim], 7 = the cache: keys [batch, kv_heads, positions, dim], two
// halves to a word, and values alike from word `values` on.

@group(0) @binding(2) var<storage, read_write> attention_k: array<f32>;
@group(0) @binding(3) var<storage, read_write> attention_v: array<f32>;
@group(0) @binding(7) var<storage, read_write> attention_cache: array<u32>;

// The new rows as the cache will have them: [rows][dim / 2].
var<workgroup> attention_new_keys: array<u32, 512>;
var<workgroup> attention_new_values: array<u32, 512>;

fn attention_first_head() -> u32 {
  return 0u;
}

fn attention_past(batch: u32) -> u32 {
  return u32(attention_positions[batch].x);
}

// Word of the cache: values 4 quad and 4 quad + 1 of a key.
fn attention_word(batch: u32, kv_head: u32, key: u32, quad: u32) -> u32 {
  return (((batch * attention.kv_heads + kv_head) * attention.keys + key) * attention.dim + quad * 4u) / 2u;
}

fn attention_new(batch: u32, kv_head: u32, row: u32) -> u32 {
  return ((batch * attention.rows + row) * attention.kv_heads + kv_head) * attention.dim;
}

fn attention_new_key(at: u32, d: u32, position: u32) -> u32 {
  let x = attention_k[at + d];
  if d >= 2u * attention.half_rotary {
    return math_f32_to_f16(x);
  }
  return math_f32_to_f16(attention_turn(x, attention_k[at + attention_partner(d)], d, position));
}

// Values d and d + 1 of a new key or value as a word of the cache.
fn attention_key_word(at: u32, d: u32, position: u32) -> u32 {
  return attention_new_key(at, d, position) | (attention_new_key(at, d + 1u, position) << 16u);
}

fn attention_value_word(at: u32, d: u32) -> u32 {
  return math_f32_to_f16(attention_v[at + d]) | (math_f32_to_f16(attention_v[at + d + 1u]) << 16u);
}

// Before anything else; barriers between this and its readers are the kernel's. `needed`: for all of the workgroup.
fn attention_begin(t: u32, batch: u32, kv_head: u32, needed: bool) {
  let words = attention.dim / 2u;
  let rows = min(u32(max(attention_positions[batch].y, 0)), attention.rows);
  for (var i = t; needed && i < rows * words; i += ATTENTION_INVOCATIONS) {
    let row = i / words;
    let d = i % words * 2u;
    let at = attention_new(batch, kv_head, row);
    attention_new_keys[i] = attention_key_word(at, d, attention_past(batch) + row);
    attention_new_values[i] = attention_value_word(at, d);
  }
}

// Where to read: no branch keeps the reads of several keys from being asked for together.
struct AttentionPlace {
  fresh: bool,
  word: u32,   // of the cache
  at: u32,     // of the new rows
}

fn attention_place(batch: u32, kv_head: u32, key: u32, quad: u32) -> AttentionPlace {
  let past = attention_past(batch);
  let fresh = key >= past;
  return AttentionPlace(fresh, attention_word(batch, kv_head, min(key, max(past, 1u) - 1u), quad),
                        (select(0u, key - past, fresh) * attention.dim + quad * 4u) / 2u);
}

fn attention_key(batch: u32, kv_head: u32, key: u32, quad: u32) -> vec4<f32> {
  let p = attention_place(batch, kv_head, key, quad);
  let a = select(attention_cache[p.word], attention_new_keys[p.at], p.fresh);
  let b = select(attention_cache[p.word + 1u], attention_new_keys[p.at + 1u], p.fresh);
  return vec4<f32>(unpack2x16float(a), unpack2x16float(b));
}

fn attention_value(batch: u32, kv_head: u32, key: u32, quad: u32) -> vec4<f32> {
  let p = attention_place(batch, kv_head, key, quad);
  let word = attention.values + p.word;
  let a = select(attention_cache[word], attention_new_values[p.at], p.fresh);
  let b = select(attention_cache[word + 1u], attention_new_values[p.at + 1u], p.fresh);
  return vec4<f32>(unpack2x16float(a), unpack2x16float(b));
}

// Each invocation stores what it began with.
fn attention_keep(t: u32, batch: u32, kv_head: u32, first: bool) {
  if !first {
    return;
  }
  let sequence = attention_positions[batch];
  let words = attention.dim / 2u;
  let rows = min(u32(max(sequence.y, 0)), attention.rows);
  for (var i = t; i < rows * words; i += ATTENTION_INVOCATIONS) {
    let row = i / words;
    let d = i % words * 2u;
    let position = u32(sequence.x) + row;
    if position < attention.keys {
      let word = attention_word(batch, kv_head, position, 0u) + d / 2u;
      attention_cache[word] = attention_new_keys[i];
      attention_cache[attention.values + word] = attention_new_values[i];
    }
  }
}
