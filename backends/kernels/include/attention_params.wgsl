// What the attention kernels are told, and where a query lies: query i of a head of keys is row i / group, head
// kv_head * group + i % group. Parameters: immediate, 64 bytes.

struct AttentionParams {
  rows: u32,
  keys: u32,          // of a sequence, or positions that the cache has room for
  kv_heads: u32,
  group: u32,         // query heads per head of keys
  dim: u32,
  quad_lanes: u32,    // dim / 4, rounded up to a power of two
  block_queries: u32, // 16, or 8: block_queries * quads of a head <= 512; in a chain: chain.wgsl's word
  half_rotary: u32,   // 0: no rotation
  flags: u32,         // 1: interleaved; 2: a mask
  window: u32,        // 0: none; attention_matrix_encoder, as bits of a float: what sums of values are multiplied by
  scale: f32,
  softcap: f32,       // 0: none; attention_matrix_encoder: what products of a query and a key are multiplied by
  values: u32,        // step of the mask from batch to batch; fresh rows: word of the cache where values begin
  mask_head: u32,     // attention_cache: which head of keys, counted over the batch, the bound cache begins with
  mask_row: u32,      // attention_step: how many invocations of a subgroup work together
  splits: u32,        // attention_split, attention_step; for masks the step from key to key
}

var<immediate> attention: AttentionParams;

// Element of q and y where a query's head starts.
fn attention_at(batch: u32, kv_head: u32, query: u32) -> u32 {
  let p = attention;
  let row = query / p.group;
  let head = kv_head * p.group + query % p.group;
  return ((batch * p.rows + row) * (p.kv_heads * p.group) + head) * p.dim;
}

fn attention_cap(score: f32) -> f32 {
  if attention.softcap > 0.0 {
    return attention.softcap * math_tanh(score / attention.softcap);
  }
  return score;
}
