enable subgroups;
// tern.KvAttention of one row (decoding) over a short context, in one dispatch without shares of keys that somebody has to
// put together: each workgroup takes all keys of a query head, and of their values 16 of the head's. Keys are read as often
// as there are such parts, which a large GPU's cache gives in less time than workgroups need to wait for each other.
//
// Formula: softmax(q k^T scale, capped) v over the keys that the row sees; FlashAttention-2 (Dao 2023) over batches of keys.
// Parameters: include/attention_params.wgsl, with values the cache's word where values begin (a multiple of 4). Bindings:
// group 0, 0 = q, rotated, 1 = y, 2 = (past, fresh) (read), 3 = the cache: keys [kv_heads, positions, dim] as halves, then
// values alike, the row's own included (linear_dot_rotary.wgsl), 4 = y rounded (flag 4, include/linear_round.wgsl), 5 =
// a chain's counters (include/chain.wgsl). Heads of whole 16 values. Grid: x = part of 16 values, y = query of its head of
// keys, z = head of keys.
//
// Workgroup: 512 x 1 x 1. attention_row_lanes invocations have a key, eight values each; eight keys of theirs are a batch's.
// Two have a value's 16. The first keys and values are asked for before it is known how many there are: the cache has room;
// and before the row's own are there, which take their places then.

override attention_row_lanes: u32 = 8u;  // 8, 16 or 32: subgroups have as many or more

const ATTENTION_ROW_INVOCATIONS: u32 = 512u;
const ATTENTION_ROW_PAIRS: u32 = 256u;
const ATTENTION_ROW_SUBGROUPS: u32 = 64u;  // at most
const ATTENTION_ROW_LOWEST: f32 = -3.4028234663852886e38;
const ATTENTION_ROW_LOG2E: f32 = 1.44269502;
const ATTENTION_ROW_ROUND: u32 = 4u;

const CHAIN_BINDING: u32 = 5u;

@coherent @group(0) @binding(0) var<storage, read_write> attention_row_q: array<vec4<f32>>;
@coherent @group(0) @binding(1) var<storage, read_write> attention_row_y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> attention_row_positions: array<vec2<i32>>;
@coherent @group(0) @binding(3) var<storage, read_write> attention_row_cache: array<vec4<u32>>;
@coherent @group(0) @binding(4) var<storage, read_write> attention_row_rounded: array<u32>;

// Of two batches in turn, so that one barrier a batch is enough: the next but one is written behind the next one's.
var<workgroup> attention_row_scores: array<f32, 16u * ATTENTION_ROW_INVOCATIONS / attention_row_lanes>;
var<workgroup> attention_row_tops: array<f32, 128>;        // [turn][subgroup]
var<workgroup> attention_row_totals: array<f32, 64>;       // of a subgroup's weights
var<workgroup> attention_row_sums: array<vec4<f32>, 256>;  // [subgroup][4]

fn linear_round_put(at: u32, word: u32) {
  attention_row_rounded[at] = word;
}

fn attention_row_dot(q0: vec4<f32>, q1: vec4<f32>, words: vec4<u32>) -> f32 {
  return attention_dot(q0, q1, attention_low(words), attention_high(words), 0.0);
}

// The largest of a subgroup; all of it call.
fn attention_row_largest(x: f32, size: u32) -> f32 {
  var most = max(x, subgroupShuffleXor(x, 1u));
  most = max(most, subgroupShuffleXor(most, 2u));
  most = max(most, subgroupShuffleXor(most, 4u));
  if size > 8u {
    most = max(most, subgroupShuffleXor(most, 8u));
  }
  if size > 16u {
    most = max(most, subgroupShuffleXor(most, 16u));
  }
  if size > 32u {
    most = max(most, subgroupShuffleXor(most, 32u));
  }
  return most;
}

// The sum of a subgroup's invocations whose lanes are alike in the lowest two bits; all of it call.
fn attention_row_added(x: vec4<f32>, size: u32) -> vec4<f32> {
  var sum = x + subgroupShuffleXor(x, 4u);
  if size > 8u {
    sum += subgroupShuffleXor(sum, 8u);
  }
  if size > 16u {
    sum += subgroupShuffleXor(sum, 16u);
  }
  if size > 32u {
    sum += subgroupShuffleXor(sum, 32u);
  }
  return sum;
}

// Chunk `at` of a key or value of the cache.
fn attention_row_load(at: u32, key: u32, last: u32) -> vec4<u32> {
  return attention_row_cache[at + min(key, last) * (attention.dim / 8u)];
}

// An invocation's chunks of a batch's eight keys.
struct AttentionRowKeys {
  a: vec4<u32>,
  b: vec4<u32>,
  c: vec4<u32>,
  d: vec4<u32>,
  e: vec4<u32>,
  f: vec4<u32>,
  g: vec4<u32>,
  h: vec4<u32>,
}

// What the value of a key adds, if it is seen: what lies beyond may be anything, and a weight of 0 does not help against
// NaN.
struct AttentionRowSum {
  low: vec4<f32>,
  high: vec4<f32>,
  total: f32,
}

fn attention_row_weigh(sum: AttentionRowSum, score: f32, top: f32, words: vec4<u32>, seen: bool) -> AttentionRowSum {
  let w = select(exp2((score - top) * ATTENTION_ROW_LOG2E), 0.0, score == ATTENTION_ROW_LOWEST);
  let v = select(vec4<u32>(), words, seen);
  return AttentionRowSum(fma(vec4<f32>(w), attention_low(v), sum.low),
                         fma(vec4<f32>(w), attention_high(v), sum.high), sum.total + w);
}

@compute @workgroup_size(512, 1, 1)
fn attention_row(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
                 @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) subgroups: u32,
                 @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) size: u32) {
  let p = attention;
  let t = subgroup * size + lane;
  let j = t & (attention_row_lanes - 1u);
  let group = t / attention_row_lanes;
  let step = ATTENTION_ROW_INVOCATIONS / attention_row_lanes;
  let batch = 8u * step;
  let chunks = p.dim / 8u;
  let head = workgroup.z * p.group + workgroup.y;
  let chunk = min(j, chunks - 1u);
  let keys_at = workgroup.z * p.keys * chunks + chunk;
  let values_at = workgroup.z * p.keys * chunks + p.values / 4u + workgroup.x * 2u + (t & 1u);
  let pair = t >> 1u;
  let last = p.keys - 1u;
  let sequence = attention_row_positions[0];
  var begin = 0u;
  if p.window != 0u {
    begin = u32(sequence.x) + 1u - min(u32(sequence.x) + 1u, p.window);
  }
  var k: AttentionRowKeys;
  k.a = attention_row_load(keys_at, begin + group, last);
  k.b = attention_row_load(keys_at, begin + group + step, last);
  var v0 = attention_row_load(values_at, begin + pair, last);
  let scale = select(0.0, p.scale, j < chunks);
  let end = select(0u, min(u32(sequence.x) + 1u, p.keys), sequence.y > 0);
  let stop = max(end, 1u) - 1u;  // no more is read than is there
  var v1 = v0;
  if begin + 2u * step < end {
    k.c = attention_row_load(keys_at, begin + group + 2u * step, stop);
    k.d = attention_row_load(keys_at, begin + group + 3u * step, stop);
  }
  if begin + 4u * step < end {
    k.e = attention_row_load(keys_at, begin + group + 4u * step, stop);
    k.f = attention_row_load(keys_at, begin + group + 5u * step, stop);
    k.g = attention_row_load(keys_at, begin + group + 6u * step, stop);
    k.h = attention_row_load(keys_at, begin + group + 7u * step, stop);
    if batch > ATTENTION_ROW_PAIRS {
      v1 = attention_row_load(values_at, begin + ATTENTION_ROW_PAIRS + pair, stop);
    }
  }
  chain_wait(p.block_queries, t, (workgroup.z * workgroups.y + workgroup.y) * workgroups.x + workgroup.x);
  let q0 = attention_row_q[head * (p.dim / 4u) + chunk * 2u] * scale;
  let q1 = attention_row_q[head * (p.dim / 4u) + chunk * 2u + 1u] * scale;
  let own_key = attention_row_load(keys_at, stop, last);
  let own_value = attention_row_load(values_at, stop, last);
  let key_place = stop - begin - group;  // of this invocation's keys, in steps; beyond the first batch it is read later
  k.a = select(k.a, own_key, key_place == 0u);
  k.b = select(k.b, own_key, key_place == step);
  k.c = select(k.c, own_key, key_place == 2u * step);
  k.d = select(k.d, own_key, key_place == 3u * step);
  k.e = select(k.e, own_key, key_place == 4u * step);
  k.f = select(k.f, own_key, key_place == 5u * step);
  k.g = select(k.g, own_key, key_place == 6u * step);
  k.h = select(k.h, own_key, key_place == 7u * step);
  v0 = select(v0, own_value, stop == begin + pair);
  v1 = select(v1, own_value, stop == begin + ATTENTION_ROW_PAIRS + pair);
  var top = ATTENTION_ROW_LOWEST;
  var sum: AttentionRowSum;
  var turn = 0u;
  for (var key0 = begin; key0 < end; key0 += batch) {
    let next = key0 + batch;
    var s0 = vec4<f32>(attention_row_dot(q0, q1, k.a), attention_row_dot(q0, q1, k.b), 0.0, 0.0);
    var s1 = vec4<f32>();
    if key0 + 2u * step < end {
      s0.z = attention_row_dot(q0, q1, k.c);
      s0.w = attention_row_dot(q0, q1, k.d);
    }
    if key0 + 4u * step < end {
      s1 = vec4<f32>(attention_row_dot(q0, q1, k.e), attention_row_dot(q0, q1, k.f), attention_row_dot(q0, q1, k.g),
                     attention_row_dot(q0, q1, k.h));
    }
    if next < end {
      k.a = attention_row_load(keys_at, next + group, stop);
      k.b = attention_row_load(keys_at, next + group + step, stop);
      k.c = attention_row_load(keys_at, next + group + 2u * step, stop);
      k.d = attention_row_load(keys_at, next + group + 3u * step, stop);
      k.e = attention_row_load(keys_at, next + group + 4u * step, stop);
      k.f = attention_row_load(keys_at, next + group + 5u * step, stop);
      k.g = attention_row_load(keys_at, next + group + 6u * step, stop);
      k.h = attention_row_load(keys_at, next + group + 7u * step, stop);
    }
    // Of eight invocations each is left with one key's score.
    let fifth = (j & 4u) != 0u;
    let a = select(s0, s1, fifth) + subgroupShuffleXor(select(s1, s0, fifth), 4u);
    let third = (j & 2u) != 0u;
    let b = select(a.xy, a.zw, third) + subgroupShuffleXor(select(a.zw, a.xy, third), 2u);
    let second = (j & 1u) != 0u;
    var c = select(b.x, b.y, second) + subgroupShuffleXor(select(b.y, b.x, second), 1u);
    if attention_row_lanes > 8u {
      c += subgroupShuffleXor(c, 8u);
    }
    if attention_row_lanes > 16u {
      c += subgroupShuffleXor(c, 16u);
    }
    let own = group + step * (j & 7u);
    let capped = attention_cap(c);
    let score = select(capped, ATTENTION_ROW_LOWEST, key0 + own >= end || capped < ATTENTION_ROW_LOWEST);
    let most = attention_row_largest(score, size);
    if j < 8u {
      attention_row_scores[turn * batch + own] = score;
    }
    if lane == 0u {
      attention_row_tops[turn * ATTENTION_ROW_SUBGROUPS + subgroup] = most;
    }
    workgroupBarrier();
    let score0 = attention_row_scores[turn * batch + min(pair, batch - 1u)];
    let score1 = attention_row_scores[turn * batch + min(ATTENTION_ROW_PAIRS + pair, batch - 1u)];
    var all = top;
    for (var n = lane; n < subgroups; n += size) {
      all = max(all, attention_row_tops[turn * ATTENTION_ROW_SUBGROUPS + n]);
    }
    all = attention_row_largest(all, size);
    turn ^= 1u;
    if key0 > begin {
      let rescale = exp2((top - all) * ATTENTION_ROW_LOG2E);
      sum = AttentionRowSum(sum.low * rescale, sum.high * rescale, sum.total * rescale);
    }
    top = all;
    if pair < batch {
      sum = attention_row_weigh(sum, score0, top, v0, key0 + pair < end);
    }
    if batch > ATTENTION_ROW_PAIRS {
      if key0 + ATTENTION_ROW_PAIRS < end {
        sum = attention_row_weigh(sum, score1, top, v1, key0 + ATTENTION_ROW_PAIRS + pair < end);
      }
      if next < end {
        v1 = attention_row_load(values_at, next + ATTENTION_ROW_PAIRS + pair, stop);
      }
    }
    if next < end {
      v0 = attention_row_load(values_at, next + pair, stop);
    }
  }

  // Of a subgroup's pairs each of the 16 values' quads is summed by one invocation in two.
  let upper = (lane & 2u) != 0u;
  let half = select(sum.low, sum.high, upper) + subgroupShuffleXor(select(sum.high, sum.low, upper), 2u);
  let quads = attention_row_added(half, size);
  let total = attention_row_added(vec4<f32>(sum.total + subgroupShuffleXor(sum.total, 2u)), size).x;
  if lane < 4u {
    attention_row_sums[subgroup * 4u + (lane & 1u) * 2u + (lane >> 1u)] = quads;
  }
  if lane == 0u {
    attention_row_totals[subgroup] = total;
  }
  workgroupBarrier();
  if subgroup == 0u {
    var y = vec4<f32>();
    for (var n = lane >> 2u; n < subgroups; n += size >> 2u) {
      y += attention_row_sums[n * 4u + (lane & 3u)];
    }
    var weights = 0.0;
    for (var n = lane; n < subgroups; n += size) {
      weights += attention_row_totals[n];
    }
    weights = subgroupAdd(weights);
    y = attention_row_added(y, size) * select(0.0, 1.0 / weights, weights > 0.0);
    let quad = (head * p.dim + workgroup.x * 16u) / 4u + (lane & 3u);
    if lane < 4u {
      attention_row_y[quad] = y;
    }
    if (p.flags & ATTENTION_ROW_ROUND) != 0u {
      let rounded = linear_rounded(y, y);
      if lane < 4u {
        linear_round_store(0u, quad, p.kv_heads * p.group * p.dim / 32u, rounded);
      }
    }
  }
  chain_done(p.block_queries, t, workgroups.x * workgroups.y * workgroups.z);
}
