// New rows of keys, rotated by their positions, and of values on their way to the cache: what kv_store.wgsl and
// kv_store_odd.wgsl share.
//
// Bindings: group 0, 0 = k, 1 = v [batch, rows, kv_heads dim], 2 = (past, fresh) of each sequence (read), 3 = cos, 4 =
// sin [positions, half], 5 = keys, 6 = values [batch, kv_heads, positions, dim], two halves to a word. Parameters:
// immediate, 36 bytes. Workgroup: 64 x 1 x 1; a grid wider than one row of workgroups continues in y. Rows from
// `fresh` on are padding: nothing is stored.

struct KvStoreParams {
  count: u32,        // of invocations
  rows: u32,
  kv_heads: u32,
  dim: u32,
  half_rotary: u32,
  positions: u32,    // that the cache has room for
  flags: u32,        // 1: interleaved
  first_head: u32,   // of keys, counted over the batch, that the bound part of the cache begins with
  end_head: u32,     // and where it ends: rows of others are not stored
}

@group(0) @binding(0) var<storage, read_write> kv_store_k: array<f32>;
@group(0) @binding(1) var<storage, read_write> kv_store_v: array<f32>;
@group(0) @binding(2) var<storage, read> kv_store_positions: array<vec2<i32>>;
@group(0) @binding(3) var<storage, read_write> kv_store_cos: array<f32>;
@group(0) @binding(4) var<storage, read_write> kv_store_sin: array<f32>;
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

// Where value d of a new row lies, and where it goes.
struct KvPlace {
  stored: bool,
  source: u32,    // element of k and v where the head starts
  to: u32,        // element of the cache where it starts
  position: u32,
  d: u32,
}

// The place of the i-th run of `width` values.
fn kv_store_place(i: u32, width: u32) -> KvPlace {
  let p = kv_store_params;
  let runs = p.dim / width;
  let head = (i / runs) % p.kv_heads;
  let row = (i / runs / p.kv_heads) % p.rows;
  let batch = i / runs / p.kv_heads / p.rows;
  let place = batch * p.kv_heads + head;
  let sequence = kv_store_positions[batch];
  let position = u32(sequence.x) + row;
  return KvPlace(i32(row) < sequence.y && position < p.positions && place >= p.first_head && place < p.end_head,
                 ((batch * p.rows + row) * p.kv_heads + head) * p.dim,
                 ((place - p.first_head) * p.positions + position) * p.dim, position, (i % runs) * width);
}
