// softmax(q k^T scale, capped, masked) v for a block of queries that share keys and values: what attention_kv.wgsl,
// attention_encoder.wgsl and attention_split.wgsl have in common. Keys go by in tiles of 32 with an online softmax; order
// and split depend on shapes alone.
//
// Bindings: group 0, 0 = q, 1 = y; the rest are the kernel's. It defines
//   attention_query(batch, kv_head, query, quad): four values of a query, rotated and scaled
//   attention_key, attention_value(batch, kv_head, key, quad)
//   attention_range(batch, first_query, last_query): keys [x, y) that any of these queries sees; uniform
//   attention_visible(batch, query, key), attention_bias(batch, kv_head, query, key): added to a score
// Parameters, and what query i is: attention_params.wgsl, which comes before. Workgroup: 64 invocations for
// block_queries queries (x) of a head of keys (y: batch and kv_head). Heads have at most 256 values.

const ATTENTION_KEYS: u32 = 32u;
const ATTENTION_LOWEST: f32 = -3.4028234663852886e38;

@group(0) @binding(0) var<storage, read_write> attention_q: array<f32>;
@group(0) @binding(1) var<storage, read_write> attention_y: array<f32>;

var<workgroup> attention_queries: array<vec4<f32>, 512>;
var<workgroup> attention_scores: array<f32, 512>;
var<workgroup> attention_partial: array<f32, 64>;
var<workgroup> attention_sums: array<f32, 64>;
var<workgroup> attention_top: array<f32, 16>;
var<workgroup> attention_total: array<f32, 16>;
var<workgroup> attention_rescale: array<f32, 16>;

// Four keys at once: one quad of them times the query's.
fn attention_dot(sum: vec4<f32>, q: vec4<f32>, k0: vec4<f32>, k1: vec4<f32>, k2: vec4<f32>, k3: vec4<f32>) -> vec4<f32> {
  var s = fma(vec4<f32>(q.x), vec4<f32>(k0.x, k1.x, k2.x, k3.x), sum);
  s = fma(vec4<f32>(q.y), vec4<f32>(k0.y, k1.y, k2.y, k3.y), s);
  s = fma(vec4<f32>(q.z), vec4<f32>(k0.z, k1.z, k2.z, k3.z), s);
  return fma(vec4<f32>(q.w), vec4<f32>(k0.w, k1.w, k2.w, k3.w), s);
}

// Scores of one or two queries (of the block) against keys key, key + 8, key + 16, key + 24, into workgroup memory.
fn attention_score(batch: u32, kv_head: u32, first_query: u32, slot: u32, column: u32, key0: u32, end: u32) {
  let p = attention;
  let quads = (p.dim + 3u) / 4u;
  let two = p.block_queries == 16u;
  let slot1 = select(slot, slot + 1u, two);
  let key = key0 + column;
  let last = end - 1u;
  var s0 = vec4<f32>();
  var s1 = vec4<f32>();
  for (var d = 0u; d < quads; d += 1u) {
    let k0 = attention_key(batch, kv_head, min(key, last), d);
    let k1 = attention_key(batch, kv_head, min(key + 8u, last), d);
    let k2 = attention_key(batch, kv_head, min(key + 16u, last), d);
    let k3 = attention_key(batch, kv_head, min(key + 24u, last), d);
    s0 = attention_dot(s0, attention_queries[slot * quads + d], k0, k1, k2, k3);
    if two {
      s1 = attention_dot(s1, attention_queries[slot1 * quads + d], k0, k1, k2, k3);
    }
  }
  for (var i = 0u; i < 4u; i += 1u) {
    let k = key + i * 8u;
    var bias0 = 0.0;
    var bias1 = 0.0;
    if k < end && (p.flags & 2u) != 0u {
      bias0 = attention_bias(batch, kv_head, first_query + slot, k);
      bias1 = attention_bias(batch, kv_head, first_query + slot1, k);
    }
    attention_scores[slot * ATTENTION_KEYS + column + i * 8u] = attention_cap(s0[i]) + bias0;
    if two {
      attention_scores[slot1 * ATTENTION_KEYS + column + i * 8u] = attention_cap(s1[i]) + bias1;
    }
  }
}

// A score that counts: of a key that the query sees, and not minus infinity.
fn attention_counts(batch: u32, query: u32, key: u32, score: f32) -> bool {
  return query < attention.rows * attention.group && attention_visible(batch, query, key) &&
         !(score < ATTENTION_LOWEST);
}

fn attention_block(t: u32, workgroup: vec3<u32>) {
  let p = attention;
  let batch = workgroup.y / p.kv_heads;
  let kv_head = workgroup.y % p.kv_heads;
  let n_queries = p.rows * p.group;
  let first_query = workgroup.x * p.block_queries;
  let quads = (p.dim + 3u) / 4u;
  for (var i = t; i < p.block_queries * quads; i += 64u) {
    let query = first_query + i / quads;
    var value = vec4<f32>();
    if query < n_queries {
      value = attention_query(batch, kv_head, query, i % quads) * p.scale;
    }
    attention_queries[i] = value;
  }
  if t < 16u {
    attention_top[t] = ATTENTION_LOWEST;
    attention_total[t] = 0.0;
  }
  // Softmax: `share` invocations a query, each with every share-th key. Values: quad `quad` of every lane-th query.
  let share = 64u / p.block_queries;
  let soft_slot = t / share;
  let soft_lane = t % share;
  let quad = t % p.quad_lanes;
  let lanes = 64u / p.quad_lanes;
  let lane = t / p.quad_lanes;
  var sums: array<vec4<f32>, 8>;
  for (var i = 0u; i < 8u; i += 1u) {
    sums[i] = vec4<f32>();
  }
  let range = attention_range(batch, first_query, min(first_query + p.block_queries, n_queries) - 1u);
  for (var key0 = range.x; key0 < range.y; key0 += ATTENTION_KEYS) {
    workgroupBarrier();
    attention_score(batch, kv_head, first_query, (t >> 3u) * (p.block_queries >> 3u), t & 7u, key0, range.y);
    workgroupBarrier();
    let tile_end = min(range.y, key0 + ATTENTION_KEYS);
    var top = ATTENTION_LOWEST;
    for (var j = soft_lane; j < ATTENTION_KEYS; j += share) {
      let score = attention_scores[soft_slot * ATTENTION_KEYS + j];
      if key0 + j < tile_end && attention_counts(batch, first_query + soft_slot, key0 + j, score) {
        top = math_max(score, top);
      }
    }
    attention_partial[t] = top;
    workgroupBarrier();
    let before = attention_top[soft_slot];
    top = before;
    for (var j = 0u; j < share; j += 1u) {
      top = math_max(attention_partial[soft_slot * share + j], top);
    }
    var sum = 0.0;
    for (var j = soft_lane; j < ATTENTION_KEYS; j += share) {
      let at = soft_slot * ATTENTION_KEYS + j;
      let score = attention_scores[at];
      var weight = 0.0;
      if key0 + j < tile_end && attention_counts(batch, first_query + soft_slot, key0 + j, score) {
        weight = math_exp(score - top);
      }
      attention_scores[at] = weight;
      sum += weight;
    }
    attention_sums[t] = sum;
    workgroupBarrier();
    if soft_lane == 0u {
      let rescale = math_exp(before - top);
      var total = attention_total[soft_slot] * rescale;
      for (var j = 0u; j < share; j += 1u) {
        total += attention_sums[soft_slot * share + j];
      }
      attention_total[soft_slot] = total;
      attention_rescale[soft_slot] = rescale;
      attention_top[soft_slot] = top;
    }
    workgroupBarrier();
    for (var i = 0u; i < 8u; i += 1u) {
      if lane + i * lanes < p.block_queries {
        sums[i] *= attention_rescale[lane + i * lanes];
      }
    }
    if quad < quads {
      for (var key = key0; key < tile_end; key += 1u) {
        let v = attention_value(batch, kv_head, key, quad);
        for (var i = 0u; i < 8u; i += 1u) {
          if lane + i * lanes < p.block_queries {
            sums[i] = fma(vec4<f32>(attention_scores[(lane + i * lanes) * ATTENTION_KEYS + key - key0]), v, sums[i]);
          }
        }
      }
    }
  }
  workgroupBarrier();
  for (var i = 0u; i < 8u; i += 1u) {
    let slot = lane + i * lanes;
    let query = first_query + slot;
    if slot < p.block_queries && query < n_queries && quad < quads {
      let total = attention_total[slot];
      let y = sums[i] * select(0.0, 1.0 / total, total > 0.0);
      let at = attention_at(batch, kv_head, query) + quad * 4u;
      for (var e = 0u; e < min(4u, p.dim - quad * 4u); e += 1u) {
        attention_y[at + e] = y[e];
      }
    }
  }
}
