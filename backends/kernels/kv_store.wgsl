// Stores new rows of keys, rotated by their positions, and of values in the cache, as float16.
//
// Bindings: group 0, 0 = k, 1 = v [batch, rows, kv_heads dim], 2 = (past, fresh) of each sequence (read), 3 = cos, 4 =
// sin [positions, half], 5 = keys, 6 = values [batch, kv_heads, positions, dim], two halves to a word. Parameters:
// immediate, 32 bytes. Workgroup: 64 x 1 x 1, one word of each cache per invocation; a grid wider than one row of
// workgroups continues in y. Rows from `fresh` on are padding: nothing is stored.

struct KvStoreParams {
  count: u32,        // words: batch rows kv_heads dim / 2
  rows: u32,
  kv_heads: u32,
  dim: u32,
  half_rotary: u32,
  positions: u32,    // that the cache has room for
  flags: u32,        // 1: interleaved
  pad: u32,
}

@group(0) @binding(0) var<storage, read_write> kv_store_k: array<f32>;
@group(0) @binding(1) var<storage, read_write> kv_store_v: array<f32>;
@group(0) @binding(2) var<storage, read> kv_store_positions: array<vec2<i32>>;
@group(0) @binding(3) var<storage, read_write> kv_store_cos: array<f32>;
@group(0) @binding(4) var<storage, read_write> kv_store_sin: array<f32>;
@group(0) @binding(5) var<storage, read_write> kv_store_keys: array<u32>;
@group(0) @binding(6) var<storage, read_write> kv_store_values: array<u32>;
var<immediate> kv_store_params: KvStoreParams;

fn kv_store_turned(at: u32, d: u32, position: u32) -> f32 {
  let p = kv_store_params;
  let x = kv_store_k[at + d];
  if d >= 2u * p.half_rotary {
    return x;
  }
  let interleaved = (p.flags & 1u) != 0u;
  let partner = kv_store_k[at + rotary_partner(d, p.half_rotary, interleaved)];
  let column = position * p.half_rotary + rotary_column(d, p.half_rotary, interleaved);
  return rotary_turn(x, partner, rotary_is_first(d, p.half_rotary, interleaved), kv_store_cos[column],
                     kv_store_sin[column]);
}

fn kv_store_pair(a: f32, b: f32) -> u32 {
  return math_f32_to_f16(a) | (math_f32_to_f16(b) << 16u);
}

@compute @workgroup_size(64, 1, 1)
fn kv_store(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let p = kv_store_params;
  let i = id.y * groups.x * 64u + id.x;
  if i >= p.count {
    return;
  }
  let words = p.dim / 2u;
  let d = (i % words) * 2u;
  let head = (i / words) % p.kv_heads;
  let row = (i / words / p.kv_heads) % p.rows;
  let batch = i / words / p.kv_heads / p.rows;
  let sequence = kv_store_positions[batch];
  let position = u32(sequence.x) + row;
  if i32(row) >= sequence.y || position >= p.positions {
    return;
  }
  let at = ((batch * p.rows + row) * p.kv_heads + head) * p.dim;
  let to = ((batch * p.kv_heads + head) * p.positions + position) * words + d / 2u;
  kv_store_keys[to] = kv_store_pair(kv_store_turned(at, d, position), kv_store_turned(at, d + 1u, position));
  kv_store_values[to] = kv_store_pair(kv_store_v[at + d], kv_store_v[at + d + 1u]);
}
