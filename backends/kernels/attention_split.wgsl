// tern.KvAttention of few queries (decoding): keys are shared out among `splits` workgroups, and attention_merge.wgsl puts
// their parts together. How many there are does not depend on positions.
//
// Formula, parameters: include/attention.wgsl. Bindings: group 0, 0 = q, 1 = parts [batch, kv_head, query, split] of
// largest score, sum of weights, weighted values [dim]; the others: include/attention_causal.wgsl, attention_cache.wgsl or
// attention_fresh.wgsl. Workgroup: 64 x 1 x 1 for four queries of a head of keys: x of the grid is query block * splits +
// split, y batch and kv_head.

var<workgroup> attention_weights: array<f32, 256>;  // [4 queries][64 keys]

fn attention_split_dot(slot: u32, d: u32, quads: u32, k: vec4<f32>, sum: f32) -> f32 {
  let q = attention_queries[slot * quads + d];
  return fma(q.w, k.w, fma(q.z, k.z, fma(q.y, k.y, fma(q.x, k.x, sum))));
}

fn attention_split_dots(d: u32, quads: u32, k: vec4<f32>, score: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(attention_split_dot(0u, d, quads, k, score.x), attention_split_dot(1u, d, quads, k, score.y),
                   attention_split_dot(2u, d, quads, k, score.z), attention_split_dot(3u, d, quads, k, score.w));
}

@compute @workgroup_size(64, 1, 1)
fn attention_split(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let p = attention;
  let head = workgroup.y + attention_first_head();
  let batch = head / p.kv_heads;
  let kv_head = head % p.kv_heads;
  let n_queries = p.rows * p.group;
  let split = workgroup.x % p.splits;
  let first_query = workgroup.x / p.splits * 4u;
  let quads = (p.dim + 3u) / 4u;
  for (var i = t; i < 4u * quads; i += 64u) {
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
  let soft_slot = t >> 4u;
  let soft_lane = t & 15u;
  let quad = t % p.quad_lanes;
  let lanes = 64u / p.quad_lanes;
  let lane = t / p.quad_lanes;
  var sums: array<vec4<f32>, 4>;
  for (var i = 0u; i < 4u; i += 1u) {
    sums[i] = vec4<f32>();
  }
  for (var key0 = begin; key0 < end; key0 += 64u) {
    workgroupBarrier();
    let key = min(key0 + t, end - 1u);
    var score = vec4<f32>();
    for (var d = 0u; d < quads; d += 4u) {
      // Asked for together, waited for once.
      let last = quads - 1u;
      let k0 = attention_key(batch, kv_head, key, d);
      let k1 = attention_key(batch, kv_head, key, min(d + 1u, last));
      let k2 = attention_key(batch, kv_head, key, min(d + 2u, last));
      let k3 = attention_key(batch, kv_head, key, min(d + 3u, last));
      score = attention_split_dots(d, quads, k0, score);
      if d + 1u < quads {
        score = attention_split_dots(d + 1u, quads, k1, score);
      }
      if d + 2u < quads {
        score = attention_split_dots(d + 2u, quads, k2, score);
      }
      if d + 3u < quads {
        score = attention_split_dots(d + 3u, quads, k3, score);
      }
    }
    for (var i = 0u; i < 4u; i += 1u) {
      attention_weights[i * 64u + t] = attention_cap(score[i]);
    }
    workgroupBarrier();
    let tile = min(64u, end - key0);
    var top = ATTENTION_LOWEST;
    for (var j = soft_lane; j < 64u; j += 16u) {
      let s = attention_weights[soft_slot * 64u + j];
      if j < tile && attention_counts(batch, first_query + soft_slot, key0 + j, s) {
        top = math_max(s, top);
      }
    }
    attention_partial[t] = top;
    workgroupBarrier();
    let before = attention_top[soft_slot];
    top = before;
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
    workgroupBarrier();
    if soft_lane == 0u {
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
      for (var j = lane; j < tile; j += 4u * lanes) {
        var v: array<vec4<f32>, 4>;
        for (var n = 0u; n < 4u; n += 1u) {
          v[n] = attention_value(batch, kv_head, key0 + min(j + n * lanes, tile - 1u), quad);
        }
        for (var n = 0u; n < 4u; n += 1u) {
          if j + n * lanes < tile {
            for (var i = 0u; i < 4u; i += 1u) {
              sums[i] = fma(vec4<f32>(attention_weights[i * 64u + j + n * lanes]), v[n], sums[i]);
            }
          }
        }
      }
    }
  }
  workgroupBarrier();
  for (var i = 0u; i < 4u; i += 1u) {
    attention_queries[i * 64u + t] = sums[i];
  }
  workgroupBarrier();
  for (var i = 0u; i < 4u; i += 1u) {
    let query = first_query + i;
    if query < n_queries {
      let at = ((head * n_queries + query) * p.splits + split) * (p.dim + 2u);
      if t == 0u {
        attention_y[at] = attention_top[i];
        attention_y[at + 1u] = attention_total[i];
      }
      if t < quads {
        var sum = vec4<f32>();
        for (var j = 0u; j < lanes; j += 1u) {
          sum += attention_queries[i * 64u + j * p.quad_lanes + t];
        }
        for (var e = 0u; e < min(4u, p.dim - t * 4u); e += 1u) {
          attention_y[at + 2u + t * 4u + e] = sum[e];
        }
      }
    }
  }
  attention_keep(t, batch, kv_head, workgroup.x == 0u);
}
