// tern.KvAttention of few queries (decoding): keys are shared out among `splits` workgroups, and attention_merge.wgsl puts
// their parts together. How many there are does not depend on positions.
//
// Formula, parameters: include/attention.wgsl. Bindings: group 0, 0 = q, 1 = parts [batch, kv_head, query, split] of
// largest score, sum of weights, weighted values [dim]; the others: include/attention_causal.wgsl, attention_cache.wgsl or
// attention_fresh.wgsl. Workgroup: 128 x 1 x 1 for four queries of a head of keys: x of the grid is query block * splits
// + split, y batch and kv_head. Keys go by in tiles of 64; two invocations share a key, and each asks for eight quads of
// it at once, then for eight values: what is waited for one after the other is what takes the time.

const ATTENTION_INVOCATIONS: u32 = 128u;

var<workgroup> attention_weights: array<f32, 512>;  // [2 parts of a score][4 queries][64 keys]; weights in the first part

fn attention_split_dot(slot: u32, d: u32, quads: u32, k: vec4<f32>, sum: f32) -> f32 {
  let q = attention_queries[slot * quads + d];
  return fma(q.w, k.w, fma(q.z, k.z, fma(q.y, k.y, fma(q.x, k.x, sum))));
}

fn attention_split_dots(d: u32, quads: u32, k: vec4<f32>, score: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(attention_split_dot(0u, d, quads, k, score.x), attention_split_dot(1u, d, quads, k, score.y),
                   attention_split_dot(2u, d, quads, k, score.z), attention_split_dot(3u, d, quads, k, score.w));
}

// Quads [begin, end) of a key times the four queries.
fn attention_split_scores(batch: u32, kv_head: u32, key: u32, quads: u32, begin: u32, end: u32) -> vec4<f32> {
  var score = vec4<f32>();
  let last = max(end, 1u) - 1u;
  for (var d = begin; d < end; d += 8u) {
    let k0 = attention_key(batch, kv_head, key, d);
    let k1 = attention_key(batch, kv_head, key, min(d + 1u, last));
    let k2 = attention_key(batch, kv_head, key, min(d + 2u, last));
    let k3 = attention_key(batch, kv_head, key, min(d + 3u, last));
    let k4 = attention_key(batch, kv_head, key, min(d + 4u, last));
    let k5 = attention_key(batch, kv_head, key, min(d + 5u, last));
    let k6 = attention_key(batch, kv_head, key, min(d + 6u, last));
    let k7 = attention_key(batch, kv_head, key, min(d + 7u, last));
    score = attention_split_dots(d, quads, k0, score);
    if d + 1u < end {
      score = attention_split_dots(d + 1u, quads, k1, score);
    }
    if d + 2u < end {
      score = attention_split_dots(d + 2u, quads, k2, score);
    }
    if d + 3u < end {
      score = attention_split_dots(d + 3u, quads, k3, score);
    }
    if d + 4u < end {
      score = attention_split_dots(d + 4u, quads, k4, score);
    }
    if d + 5u < end {
      score = attention_split_dots(d + 5u, quads, k5, score);
    }
    if d + 6u < end {
      score = attention_split_dots(d + 6u, quads, k6, score);
    }
    if d + 7u < end {
      score = attention_split_dots(d + 7u, quads, k7, score);
    }
  }
  return score;
}

@compute @workgroup_size(128, 1, 1)
fn attention_split(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let p = attention;
  let head = workgroup.y + attention_first_head();
  let batch = head / p.kv_heads;
  let kv_head = head % p.kv_heads;
  let n_queries = p.rows * p.group;
  let split = workgroup.x % p.splits;
  let first_query = workgroup.x / p.splits * 4u;
  let quads = (p.dim + 3u) / 4u;
  for (var i = t; i < 4u * quads; i += ATTENTION_INVOCATIONS) {
    let query = first_query + i / quads;
    var value = vec4<f32>();
    if query < n_queries {
      value = attention_query(batch, kv_head, query, i % quads) * p.scale;
    }
    attention_queries[i] = value;
  }
  if t < 4u {
    attention_top[t] = ATTENTION_LOWEST;
    attention_total[t] = 0.0;
  }
  let range = attention_range(batch, first_query, min(first_query + 4u, n_queries) - 1u);
  let share = ((range.y - range.x + p.splits - 1u) / p.splits + 63u) / 64u * 64u;
  let begin = min(range.x + split * share, range.y);
  let end = min(begin + share, range.y);
  attention_begin(t, batch, kv_head, workgroup.x == 0u || (begin < end && end + p.rows > range.y));
  let column = t & 63u;
  let half_quads = (quads + 1u) / 2u;
  let part = t >> 6u;
  // Softmax is the first 64's: 16 for a query.
  let soft = t < 64u;
  let soft_slot = column >> 4u;
  let soft_lane = column & 15u;
  let quad = t % p.quad_lanes;
  let lanes = ATTENTION_INVOCATIONS / p.quad_lanes;
  let lane = t / p.quad_lanes;
  var sums: array<vec4<f32>, 4>;
  for (var i = 0u; i < 4u; i += 1u) {
    sums[i] = vec4<f32>();
  }
  for (var key0 = begin; key0 < end; key0 += 64u) {
    workgroupBarrier();
    let score = attention_split_scores(batch, kv_head, min(key0 + column, end - 1u), quads, part * half_quads,
                                       min((part + 1u) * half_quads, quads));
    for (var i = 0u; i < 4u; i += 1u) {
      attention_weights[(part * 4u + i) * 64u + column] = score[i];
    }
    workgroupBarrier();
    let tile = min(64u, end - key0);
    if soft {
      var top = ATTENTION_LOWEST;
      for (var j = soft_lane; j < 64u; j += 16u) {
        let at = soft_slot * 64u + j;
        let s = attention_cap(attention_weights[at] + attention_weights[256u + at]);
        attention_weights[at] = s;
        if j < tile && attention_counts(batch, first_query + soft_slot, key0 + j, s) {
          top = math_max(s, top);
        }
      }
      attention_partial[t] = top;
    }
    workgroupBarrier();
    let before = attention_top[soft_slot];
    var top = before;
    if soft {
      for (var j = 0u; j < 16u; j += 1u) {
        top = math_max(attention_partial[soft_slot * 16u + j], top);
      }
      var sum = 0.0;
      for (var j = soft_lane; j < 64u; j += 16u) {
        let s = attention_weights[soft_slot * 64u + j];
        var weight = 0.0;
        if j < tile && attention_counts(batch, first_query + soft_slot, key0 + j, s) {
          weight = math_exp(s - top);
        }
        attention_weights[soft_slot * 64u + j] = weight;
        sum += weight;
      }
      attention_sums[t] = sum;
    }
    workgroupBarrier();
    if soft && soft_lane == 0u {
      let rescale = math_exp(before - top);
      var total = attention_total[soft_slot] * rescale;
      for (var j = 0u; j < 16u; j += 1u) {
        total += attention_sums[soft_slot * 16u + j];
      }
      attention_total[soft_slot] = total;
      attention_rescale[soft_slot] = rescale;
      attention_top[soft_slot] = top;
    }
    workgroupBarrier();
    for (var i = 0u; i < 4u; i += 1u) {
      sums[i] *= attention_rescale[i];
    }
    if quad < quads {
      for (var j = lane; j < tile; j += 8u * lanes) {
        var v: array<vec4<f32>, 8>;
        for (var n = 0u; n < 8u; n += 1u) {
          v[n] = attention_value(batch, kv_head, key0 + min(j + n * lanes, tile - 1u), quad);
        }
        for (var n = 0u; n < 8u; n += 1u) {
          if j + n * lanes < tile {
            for (var i = 0u; i < 4u; i += 1u) {
              sums[i] = fma(vec4<f32>(attention_weights[i * 64u + j + n * lanes]), v[n], sums[i]);
            }
          }
        }
      }
    }
  }
  // The lanes' sums: of the second half of them to the first, then of these to one, in their order.
  workgroupBarrier();
  if !soft {
    for (var i = 0u; i < 4u; i += 1u) {
      attention_queries[i * 64u + column] = sums[i];
    }
  }
  workgroupBarrier();
  if soft {
    for (var i = 0u; i < 4u; i += 1u) {
      attention_queries[256u + i * 64u + column] = sums[i] + attention_queries[i * 64u + column];
    }
  }
  workgroupBarrier();
  for (var i = part; i < 4u; i += 2u) {
    let query = first_query + i;
    if query < n_queries {
      let at = ((head * n_queries + query) * p.splits + split) * (p.dim + 2u);
      if column == 0u {
        attention_y[at] = attention_top[i];
        attention_y[at + 1u] = attention_total[i];
      }
      if column < quads {
        var sum = vec4<f32>();
        for (var j = 0u; j < lanes / 2u; j += 1u) {
          sum += attention_queries[256u + i * 64u + j * p.quad_lanes + column];
        }
        for (var e = 0u; e < min(4u, p.dim - column * 4u); e += 1u) {
          attention_y[at + 2u + column * 4u + e] = sum[e];
        }
      }
    }
  }
  attention_keep(t, batch, kv_head, workgroup.x == 0u);
}
