enable subgroups;
// tern.KvAttention of few queries (decoding) in one dispatch: keys are shared out among up to `splits` workgroups, and
// the last of them to finish puts their parts together. What attention_split.wgsl and attention_merge.wgsl do, for
// lowest latency.
//
// Formula, parameters: include/attention_params.wgsl, with values the cache's word where values begin (a multiple of 4),
// splits at most 64, and in mask_row how many invocations of a subgroup work together: 8, 16, or 32 where it has as many
// or more. Bindings: group 0, 0 = q, 1 = y; where the included file has them (past, fresh) of each sequence (read), and the
// cache: keys [batch, kv_heads, positions, dim] as halves, then values alike; and from ATTENTION_STEP_END on parts [batch,
// kv_head, block of queries, query, share]: (largest score, sum of weights), then weighted values [dim]; counters [batch,
// kv_head, block], zero before and after; y rounded. Heads of 8 to 256 values, a multiple of 8.
//
// New rows and queries are as their product left them (include/attention_step_fresh.wgsl), or it has rotated both and stored
// the row in the cache (include/attention_step_kept.wgsl): the numbers are the same.
//
// Workgroup: 256 x 1 x 1 (128 for heads of more than 128 values) for four queries of a head of keys; x of the grid is the
// share, y batch and kv_head, z the block. Share s has every splits-th tile of keys, from the s-th tile on; shares without
// one end at once. Of 32 (16) keys at a time, twice a tile, eight invocations have one: chunks of eight values each, which
// they ask for before anything is computed, the next tile's as soon as this one's are used. 32 invocations have their own
// softmax, so that no barrier is in the loop. Nothing is divided before the first reads: with so few invocations at work
// a division is as long as a read of the cache.
//
// The numbers do not depend on who is last, and those of a row not on the batch: parts are added in the order of shares.
// In a chain (include/chain.wgsl) the last one is who has arrived: one workgroup of all along x.

const ATTENTION_STEP_LOWEST: f32 = -3.4028234663852886e38;
const ATTENTION_STEP_LOG2E: f32 = 1.44269502;
const ATTENTION_STEP_SHARES: u32 = 64u;
const ATTENTION_STEP_ROUND: u32 = 4u;  // of flags: y's only row is written rounded, too (include/linear_round.wgsl)

@coherent @group(0) @binding(1) var<storage, read_write> attention_step_y: array<vec4<f32>>;
@group(0) @binding(ATTENTION_STEP_POSITIONS) var<storage, read> attention_step_positions: array<vec2<i32>>;
@coherent @group(0) @binding(ATTENTION_STEP_END) var<storage, read_write> attention_step_parts: array<vec4<f32>>;
@group(0) @binding(ATTENTION_STEP_END + 1u) var<storage, read_write> attention_step_counters: array<atomic<u32>>;
@coherent @group(0) @binding(ATTENTION_STEP_END + 2u) var<storage, read_write> attention_step_rounded: array<u32>;

var<workgroup> attention_step_queries: array<vec4<f32>, 64u * attention_step_chunks>;  // [4][quads]
var<workgroup> attention_step_new: array<vec2<u32>, 128u * attention_step_chunks>;     // [key, value][rows][quads] halves
var<workgroup> attention_step_sums: array<vec4<f32>, 2u * attention_step_invocations * attention_step_chunks>;  // [of 32 invocations][4][quads]
var<workgroup> attention_step_tops: array<f32, 128>;                                   // [of invocations][4]
var<workgroup> attention_step_totals: array<f32, 128>;
var<workgroup> attention_step_shares: array<vec2<f32>, 256>;                           // [4][share] top, total
var<workgroup> attention_step_arrived: u32;

// Keys that a workgroup has at a time.
fn attention_step_stride() -> u32 {
  return attention_step_invocations / 8u;
}

// Lines of a head's quads: most heads have a power of two of them.
fn attention_step_line(i: u32) -> u32 {
  let quads = attention.dim / 4u;
  if quads == attention.quad_lanes {
    return i >> countTrailingZeros(quads);
  }
  return i / quads;
}

// The row of a query of a head of keys.
fn attention_step_row(query: u32) -> u32 {
  if attention.rows == 1u {
    return select(0u, 1u, query >= attention.group);
  }
  return query / attention.group;
}

// ---- what a workgroup sees to ----

// What of the keys a workgroup sees to.
struct AttentionStepPlace {
  batch: u32,
  kv_head: u32,
  block: u32,       // of four queries
  split: u32,
  past: u32,
  fresh: u32,
  begin: u32,       // keys [begin, end) are seen by any of the queries
  end: u32,
  base: u32,        // where the first tile begins
  needed: bool,     // new rows are in its tiles
}

// Whether a key from begin on is in the workgroup's tiles.
fn attention_step_mine(place: AttentionStepPlace, key: u32) -> bool {
  return (key - place.base) / (2u * attention_step_stride()) % attention.splits == place.split;
}

// ---- keys and values ----

// Chunk of a key (or value) of the cache, from where the head's begin; what is not to be seen there is zero.
fn attention_step_chunk(head: u32, key: u32, chunk: u32, place: AttentionStepPlace) -> vec4<u32> {
  let chunks = attention.dim / 8u;
  var words = vec4<u32>();
  if chunk < chunks && key >= place.begin && key < attention_step_stored(place) {
    words = attention_step_cache[head + key * chunks + chunk];
  }
  return words;
}

// An invocation's chunks of a tile's two keys (or values) of its own: the first one's, the second one's.
struct AttentionStepChunks {
  a0: vec4<u32>,
  b0: vec4<u32>,
  a1: vec4<u32>,
  b1: vec4<u32>,
  a2: vec4<u32>,
  b2: vec4<u32>,
  a3: vec4<u32>,
  b3: vec4<u32>,
}

fn attention_step_load(head: u32, key: u32, chunk: u32, place: AttentionStepPlace) -> AttentionStepChunks {
  let other = key + attention_step_stride();
  var words: AttentionStepChunks;
  words.a0 = attention_step_chunk(head, key, chunk, place);
  words.b0 = attention_step_chunk(head, other, chunk, place);
  if attention_step_chunks > 1u {
    words.a1 = attention_step_chunk(head, key, chunk + 8u, place);
    words.b1 = attention_step_chunk(head, other, chunk + 8u, place);
  }
  if attention_step_chunks > 2u {
    words.a2 = attention_step_chunk(head, key, chunk + 16u, place);
    words.b2 = attention_step_chunk(head, other, chunk + 16u, place);
    words.a3 = attention_step_chunk(head, key, chunk + 24u, place);
    words.b3 = attention_step_chunk(head, other, chunk + 24u, place);
  }
  return words;
}

// Chunks that were asked for before it was known which keys there are: zero of others.
fn attention_step_seen(words: AttentionStepChunks, key: u32, place: AttentionStepPlace) -> AttentionStepChunks {
  let end = attention_step_stored(place);
  let a = vec4<bool>(key < end);
  let b = vec4<bool>(key + attention_step_stride() < end);
  var seen: AttentionStepChunks;
  seen.a0 = select(vec4<u32>(), words.a0, a);
  seen.b0 = select(vec4<u32>(), words.b0, b);
  if attention_step_chunks > 1u {
    seen.a1 = select(vec4<u32>(), words.a1, a);
    seen.b1 = select(vec4<u32>(), words.b1, b);
  }
  if attention_step_chunks > 2u {
    seen.a2 = select(vec4<u32>(), words.a2, a);
    seen.b2 = select(vec4<u32>(), words.b2, b);
    seen.a3 = select(vec4<u32>(), words.a3, a);
    seen.b3 = select(vec4<u32>(), words.b3, b);
  }
  return seen;
}

// Chunks of the four queries.
struct AttentionStepQueries {
  a0: vec4<f32>,
  a1: vec4<f32>,
  b0: vec4<f32>,
  b1: vec4<f32>,
  c0: vec4<f32>,
  c1: vec4<f32>,
  d0: vec4<f32>,
  d1: vec4<f32>,
}

fn attention_step_queries_at(chunk: u32) -> AttentionStepQueries {
  let quads = attention.dim / 4u;
  let at = min(chunk * 2u, quads - 2u);
  return AttentionStepQueries(attention_step_queries[at], attention_step_queries[at + 1u],
                              attention_step_queries[at + quads], attention_step_queries[at + quads + 1u],
                              attention_step_queries[at + 2u * quads], attention_step_queries[at + 2u * quads + 1u],
                              attention_step_queries[at + 3u * quads], attention_step_queries[at + 3u * quads + 1u]);
}

// Scores of the four queries plus a chunk's.
fn attention_step_score(q: AttentionStepQueries, words: vec4<u32>, score: vec4<f32>) -> vec4<f32> {
  let k0 = attention_low(words);
  let k1 = attention_high(words);
  return vec4<f32>(attention_dot(q.a0, q.a1, k0, k1, score.x), attention_dot(q.b0, q.b1, k0, k1, score.y),
                   attention_dot(q.c0, q.c1, k0, k1, score.z), attention_dot(q.d0, q.d1, k0, k1, score.w));
}

// Weighted values: a chunk's, of the four queries.
struct AttentionStepSums {
  a0: vec4<f32>,
  a1: vec4<f32>,
  b0: vec4<f32>,
  b1: vec4<f32>,
  c0: vec4<f32>,
  c1: vec4<f32>,
  d0: vec4<f32>,
  d1: vec4<f32>,
}

fn attention_step_weigh(s: AttentionStepSums, w: vec4<f32>, words: vec4<u32>) -> AttentionStepSums {
  let v0 = attention_low(words);
  let v1 = attention_high(words);
  return AttentionStepSums(fma(w.xxxx, v0, s.a0), fma(w.xxxx, v1, s.a1), fma(w.yyyy, v0, s.b0), fma(w.yyyy, v1, s.b1),
                           fma(w.zzzz, v0, s.c0), fma(w.zzzz, v1, s.c1), fma(w.wwww, v0, s.d0), fma(w.wwww, v1, s.d1));
}

fn attention_step_scaled(s: AttentionStepSums, f: vec4<f32>) -> AttentionStepSums {
  return AttentionStepSums(s.a0 * f.x, s.a1 * f.x, s.b0 * f.y, s.b1 * f.y, s.c0 * f.z, s.c1 * f.z, s.d0 * f.w,
                           s.d1 * f.w);
}

// ---- softmax ----

// Keys [x, y) that a query sees.
fn attention_step_sees(query: u32, place: AttentionStepPlace) -> vec2<u32> {
  let p = attention;
  let row = attention_step_row(query);
  if query >= p.rows * p.group || row >= place.fresh {
    return vec2<u32>();
  }
  let end = place.past + row + 1u;
  return vec2<u32>(select(0u, end - min(end, p.window), p.window != 0u), end);
}

// Relative to the largest score.
fn attention_step_weight(x: vec2<f32>) -> vec2<f32> {
  return exp2(x * ATTENTION_STEP_LOG2E);
}

// Both queries' factors of an invocation, and its neighbour's: of all four.
fn attention_step_four(own: vec2<f32>, odd: bool) -> vec4<f32> {
  let other = subgroupShuffleXor(own, 1u);
  return select(vec4<f32>(own, other), vec4<f32>(other, own), odd);
}

// The weights of pass j: those of the eight invocations of a key are at two of them.
fn attention_step_weights(own: vec2<f32>, lane: u32, j: u32) -> vec4<f32> {
  let at = (lane & ~7u) + 2u * j;
  return vec4<f32>(subgroupShuffle(own, at), subgroupShuffle(own, at + 1u));
}

// ---- the sums of several invocations ----

// Of the invocations with the same chunk among 32: each is left with one query's.
fn attention_step_halved(s: AttentionStepSums, lane: u32) -> array<vec4<f32>, 2> {
  let second = (lane & 8u) != 0u;
  var x0 = select(s.a0, s.c0, second) + subgroupShuffleXor(select(s.c0, s.a0, second), 8u);
  var x1 = select(s.a1, s.c1, second) + subgroupShuffleXor(select(s.c1, s.a1, second), 8u);
  var y0 = select(s.b0, s.d0, second) + subgroupShuffleXor(select(s.d0, s.b0, second), 8u);
  var y1 = select(s.b1, s.d1, second) + subgroupShuffleXor(select(s.d1, s.b1, second), 8u);
  let odd = (lane & 16u) != 0u;
  x0 = select(x0, y0, odd) + subgroupShuffleXor(select(y0, x0, odd), 16u);
  x1 = select(x1, y1, odd) + subgroupShuffleXor(select(y1, x1, odd), 16u);
  return array<vec4<f32>, 2>(x0, x1);
}

fn attention_step_put_halved(t: u32, chunk: u32, s: AttentionStepSums, lane: u32) {
  let quads = attention.dim / 4u;
  let sum = attention_step_halved(s, lane);
  if chunk * 2u < quads {
    let slot = ((lane >> 3u) & 1u) * 2u + ((lane >> 4u) & 1u);
    let at = ((t >> 5u) * 4u + slot) * quads + chunk * 2u;
    attention_step_sums[at] = sum[0];
    attention_step_sums[at + 1u] = sum[1];
  }
}

// Where subgroups are smaller: one invocation with that chunk after the other.
fn attention_step_add(at: u32, x0: vec4<f32>, x1: vec4<f32>, first: bool) {
  if first {
    attention_step_sums[at] = x0;
    attention_step_sums[at + 1u] = x1;
  } else {
    attention_step_sums[at] += x0;
    attention_step_sums[at + 1u] += x1;
  }
}

fn attention_step_put(t: u32, chunk: u32, s: AttentionStepSums, first: bool) {
  let quads = attention.dim / 4u;
  if chunk * 2u < quads {
    let at = (t >> 5u) * 4u * quads + chunk * 2u;
    attention_step_add(at, s.a0, s.a1, first);
    attention_step_add(at + quads, s.b0, s.b1, first);
    attention_step_add(at + 2u * quads, s.c0, s.c1, first);
    attention_step_add(at + 3u * quads, s.d0, s.d1, first);
  }
}

fn linear_round_put(at: u32, word: u32) {
  attention_step_rounded[at] = word;
}

// A quad of the only row, for the product that reads it; four invocations in a row have one after the other.
fn attention_step_round(quad: u32, y: vec4<f32>) {
  let blocks = attention.kv_heads * attention.group * attention.dim / 32u;
  linear_round_store(0u, quad, blocks, linear_rounded(y, y));
}

fn attention_step_finish(place: AttentionStepPlace, slot: u32, quad: u32, sum: vec4<f32>, total: f32) {
  let query = place.block * 4u + slot;
  if query < attention.rows * attention.group {
    let at = attention_step_at(place.batch, place.kv_head, query) / 4u;
    let y = sum * select(0.0, 1.0 / total, total > 0.0);
    attention_step_y[at + quad] = y;
    if (attention.flags & ATTENTION_STEP_ROUND) != 0u {
      attention_step_round(at + quad, y);
    }
  }
}

// ---- the parts of several shares ----

// Values of eight shares: s, s + step ...
struct AttentionStepParts {
  a: vec4<f32>,
  b: vec4<f32>,
  c: vec4<f32>,
  d: vec4<f32>,
  e: vec4<f32>,
  f: vec4<f32>,
  g: vec4<f32>,
  h: vec4<f32>,
}

// Those that there are not are the last one's; `at` is the first share's element.
fn attention_step_parts_at(at: u32, s: u32, step: u32, last: u32) -> AttentionStepParts {
  let width = attention.dim / 4u + 1u;
  return AttentionStepParts(attention_step_parts[at + min(s, last) * width],
                            attention_step_parts[at + min(s + step, last) * width],
                            attention_step_parts[at + min(s + 2u * step, last) * width],
                            attention_step_parts[at + min(s + 3u * step, last) * width],
                            attention_step_parts[at + min(s + 4u * step, last) * width],
                            attention_step_parts[at + min(s + 5u * step, last) * width],
                            attention_step_parts[at + min(s + 6u * step, last) * width],
                            attention_step_parts[at + min(s + 7u * step, last) * width]);
}

fn attention_step_part(sum: vec4<f32>, slot: u32, s: u32, last: u32, x: vec4<f32>) -> vec4<f32> {
  if s > last {
    return sum;
  }
  return fma(vec4<f32>(attention_step_shares[slot * ATTENTION_STEP_SHARES + s].x), x, sum);
}

fn attention_step_merged(sum: vec4<f32>, slot: u32, s: u32, step: u32, last: u32, v: AttentionStepParts) -> vec4<f32> {
  var y = attention_step_part(sum, slot, s, last, v.a);
  y = attention_step_part(y, slot, s + step, last, v.b);
  y = attention_step_part(y, slot, s + 2u * step, last, v.c);
  y = attention_step_part(y, slot, s + 3u * step, last, v.d);
  y = attention_step_part(y, slot, s + 4u * step, last, v.e);
  y = attention_step_part(y, slot, s + 5u * step, last, v.f);
  y = attention_step_part(y, slot, s + 6u * step, last, v.g);
  return attention_step_part(y, slot, s + 7u * step, last, v.h);
}

// The weights of a query's shares, and their sum: of as many invocations as work together.
fn attention_step_weigh_shares(t: u32, unit: u32, first: u32, last: u32) {
  let p = attention;
  let width = p.dim / 4u + 1u;
  let lane = t % unit;
  let slot = t / unit;
  if slot < 4u {
    let at = slot * ATTENTION_STEP_SHARES;
    var top = ATTENTION_STEP_LOWEST;
    for (var s = lane; s <= last; s += unit) {
      let part = attention_step_parts[first + (slot * p.splits + s) * width].xy;
      attention_step_shares[at + s] = part;
      top = max(top, part.x);
    }
    top = max(top, subgroupShuffleXor(top, 1u));
    top = max(top, subgroupShuffleXor(top, 2u));
    top = max(top, subgroupShuffleXor(top, 4u));
    if unit > 8u {
      top = max(top, subgroupShuffleXor(top, 8u));
    }
    if unit > 16u {
      top = max(top, subgroupShuffleXor(top, 16u));
    }
    var total = 0.0;
    for (var s = lane; s <= last; s += unit) {
      let part = attention_step_shares[at + s];
      let weight = exp2((part.x - top) * ATTENTION_STEP_LOG2E);
      total = fma(part.y, weight, total);
      attention_step_shares[at + s].x = weight;
    }
    total += subgroupShuffleXor(total, 1u);
    total += subgroupShuffleXor(total, 2u);
    total += subgroupShuffleXor(total, 4u);
    if unit > 8u {
      total += subgroupShuffleXor(total, 8u);
    }
    if unit > 16u {
      total += subgroupShuffleXor(total, 16u);
    }
    if lane == 0u {
      attention_step_totals[slot] = total;
    }
  }
}

@compute @workgroup_size(attention_step_invocations, 1, 1)
fn attention_step(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
                  @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32,
                  @builtin(subgroup_size) size: u32) {
  let p = attention;
  let t = subgroup * size + lane;
  let stride = attention_step_stride();
  let tile = 2u * stride;
  let unit = p.mask_row;
  let quads = p.dim / 4u;
  var place: AttentionStepPlace;
  place.batch = attention_step_batch(workgroup.y);
  place.kv_head = workgroup.y - place.batch * p.kv_heads;
  place.split = workgroup.x;
  place.block = workgroup.z;
  let first_query = place.block * 4u;
  let sequence = attention_step_positions[place.batch];
  var job0: AttentionStepJob;
  if ATTENTION_STEP_FRESH {
    job0 = attention_step_ask(t, place.batch, place.kv_head, first_query);
  }
  let chunk = t & 7u;
  let group = t >> 3u;
  let keys_at = workgroup.y * p.keys * (p.dim / 8u);
  let values_at = keys_at + p.values / 4u;
  var k: AttentionStepChunks;
  var v: AttentionStepChunks;
  if !ATTENTION_STEP_FRESH {
    // All keys but the row's own are in the cache, and the first ones begin with the first: they are asked for beside the
    // positions.
    if p.window == 0u {
      var all: AttentionStepPlace;
      all.end = p.keys;
      k = attention_step_load(keys_at, workgroup.x * tile + group, chunk, all);
      v = attention_step_load(values_at, workgroup.x * tile + group, chunk, all);
    }
  }

  // What the queries see. All of this is the same for all shares.
  let past = u32(sequence.x);
  let fresh = min(u32(max(sequence.y, 0)), p.rows);
  let first_row = attention_step_row(first_query);
  let last_row = min(attention_step_row(first_query + 3u), max(fresh, 1u) - 1u);
  let any = first_row < fresh;
  let end = select(0u, past + last_row + 1u, any);
  let first_end = past + first_row + 1u;
  let begin = select(0u, first_end - min(first_end, p.window), any && p.window != 0u);
  let base = begin / tile * tile;
  let tiles = (end - base + tile - 1u) / tile;
  let taking_part = max(min(tiles, p.splits), 1u);
  if workgroup.x >= taking_part {
    return;
  }
  place.past = past;
  place.fresh = fresh;
  place.begin = begin;
  place.end = end;
  place.base = base;
  place.needed = any && (attention_step_mine(place, max(past, base)) || attention_step_mine(place, end - 1u));

  // Everything is asked for at once.
  chain_wait(p.block_queries, t, (workgroup.z * workgroups.y + workgroup.y) * workgroups.x + workgroup.x);
  if !ATTENTION_STEP_FRESH {
    job0 = attention_step_ask(t, place.batch, place.kv_head, first_query);
  }
  let angle0 = attention_step_angle(job0, place);
  var key = base + place.split * tile + group;
  if ATTENTION_STEP_FRESH {
    k = attention_step_load(keys_at, key, chunk, place);
    v = attention_step_load(values_at, key, chunk, place);
  } else if p.window != 0u || base + place.split * tile + tile > past {
    k = attention_step_load(keys_at, key, chunk, place);
    v = attention_step_load(values_at, key, chunk, place);
  } else {
    k = attention_step_seen(k, key, place);
    v = attention_step_seen(v, key, place);
  }

  attention_step_stage(job0, angle0, t, place);
  for (var i = t + attention_step_invocations; i < attention_step_jobs(); i += attention_step_invocations) {
    let job = attention_step_ask(i, place.batch, place.kv_head, first_query);
    attention_step_stage(job, attention_step_angle(job, place), i, place);
  }
  let odd = (t & 1u) != 0u;
  let pair = first_query + 2u * (t & 1u);
  let sees0 = attention_step_sees(pair, place);
  let sees1 = attention_step_sees(pair + 1u, place);
  var top = vec2<f32>(ATTENTION_STEP_LOWEST);
  var total = vec2<f32>();      // of this invocation's weights
  var sum0: AttentionStepSums;
  var sum1: AttentionStepSums;
  var sum2: AttentionStepSums;
  var sum3: AttentionStepSums;
  workgroupBarrier();

  let first = base + place.split * tile;
  for (var key0 = first; key0 < end; key0 += p.splits * tile) {
    key = key0 + group;
    if ATTENTION_STEP_FRESH {
      if key0 + tile > past {
        let rows_at = p.rows * quads;
        k.a0 = attention_step_fresh(k.a0, 0u, key, chunk, place);
        k.b0 = attention_step_fresh(k.b0, 0u, key + stride, chunk, place);
        v.a0 = attention_step_fresh(v.a0, rows_at, key, chunk, place);
        v.b0 = attention_step_fresh(v.b0, rows_at, key + stride, chunk, place);
        if attention_step_chunks > 1u {
          k.a1 = attention_step_fresh(k.a1, 0u, key, chunk + 8u, place);
          k.b1 = attention_step_fresh(k.b1, 0u, key + stride, chunk + 8u, place);
          v.a1 = attention_step_fresh(v.a1, rows_at, key, chunk + 8u, place);
          v.b1 = attention_step_fresh(v.b1, rows_at, key + stride, chunk + 8u, place);
        }
        if attention_step_chunks > 2u {
          k.a2 = attention_step_fresh(k.a2, 0u, key, chunk + 16u, place);
          k.b2 = attention_step_fresh(k.b2, 0u, key + stride, chunk + 16u, place);
          k.a3 = attention_step_fresh(k.a3, 0u, key, chunk + 24u, place);
          k.b3 = attention_step_fresh(k.b3, 0u, key + stride, chunk + 24u, place);
          v.a2 = attention_step_fresh(v.a2, rows_at, key, chunk + 16u, place);
          v.b2 = attention_step_fresh(v.b2, rows_at, key + stride, chunk + 16u, place);
          v.a3 = attention_step_fresh(v.a3, rows_at, key, chunk + 24u, place);
          v.b3 = attention_step_fresh(v.b3, rows_at, key + stride, chunk + 24u, place);
        }
      }
    }
    let next = key + p.splits * tile;
    let more = key0 + p.splits * tile < end;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    {
      let q = attention_step_queries_at(chunk);
      s0 = attention_step_score(q, k.a0, s0);
      s1 = attention_step_score(q, k.b0, s1);
    }
    if attention_step_chunks > 1u {
      let q = attention_step_queries_at(chunk + 8u);
      s0 = attention_step_score(q, k.a1, s0);
      s1 = attention_step_score(q, k.b1, s1);
    }
    if attention_step_chunks > 2u {
      let q = attention_step_queries_at(chunk + 16u);
      s0 = attention_step_score(q, k.a2, s0);
      s1 = attention_step_score(q, k.b2, s1);
      let r = attention_step_queries_at(chunk + 24u);
      s0 = attention_step_score(r, k.a3, s0);
      s1 = attention_step_score(r, k.b3, s1);
    }
    if more {
      k = attention_step_load(keys_at, next, chunk, place);
    }

    // The sums of the eight invocations of a key: of the first four each is left with a pass and two queries of it.
    let a = s0 + subgroupShuffleXor(s0, 4u);
    let b = s1 + subgroupShuffleXor(s1, 4u);
    let second = (t & 2u) != 0u;
    let c = select(a, b, second) + subgroupShuffleXor(select(b, a, second), 2u);
    let d = select(c.xy, c.zw, odd) + subgroupShuffleXor(select(c.zw, c.xy, odd), 1u);
    let own = key0 + group + stride * ((t >> 1u) & 3u);  // beyond the tile: of the last four
    let inside = own < key0 + tile;
    let score = vec2<f32>(attention_cap(d.x), attention_cap(d.y));
    let counts = vec2<bool>(inside && own >= sees0.x && own < sees0.y, inside && own >= sees1.x && own < sees1.y) &
                 !(score < vec2<f32>(ATTENTION_STEP_LOWEST));
    let before = top;
    top = max(top, select(vec2<f32>(ATTENTION_STEP_LOWEST), score, counts));
    top = max(top, subgroupShuffleXor(top, 2u));
    top = max(top, subgroupShuffleXor(top, 4u));
    if unit > 8u {
      top = max(top, subgroupShuffleXor(top, 8u));
    }
    if unit > 16u {
      top = max(top, subgroupShuffleXor(top, 16u));
    }
    let weight = select(vec2<f32>(), attention_step_weight(score - top), counts);
    if key0 == first {
      total = weight;
    } else {
      let rescale = attention_step_weight(before - top);
      total = fma(total, rescale, weight);
      let four = attention_step_four(rescale, odd);
      sum0 = attention_step_scaled(sum0, four);
      if attention_step_chunks > 1u {
        sum1 = attention_step_scaled(sum1, four);
      }
      if attention_step_chunks > 2u {
        sum2 = attention_step_scaled(sum2, four);
        sum3 = attention_step_scaled(sum3, four);
      }
    }
    let w0 = attention_step_weights(weight, lane, 0u);
    let w1 = attention_step_weights(weight, lane, 1u);
    sum0 = attention_step_weigh(sum0, w0, v.a0);
    sum0 = attention_step_weigh(sum0, w1, v.b0);
    if attention_step_chunks > 1u {
      sum1 = attention_step_weigh(sum1, w0, v.a1);
      sum1 = attention_step_weigh(sum1, w1, v.b1);
    }
    if attention_step_chunks > 2u {
      sum2 = attention_step_weigh(sum2, w0, v.a2);
      sum2 = attention_step_weigh(sum2, w1, v.b2);
      sum3 = attention_step_weigh(sum3, w0, v.a3);
      sum3 = attention_step_weigh(sum3, w1, v.b3);
    }
    if more {
      v = attention_step_load(values_at, next, chunk, place);
    }
  }

  // The sums of the workgroup's invocations: of 32 each to workgroup memory.
  total += subgroupShuffleXor(total, 2u);
  total += subgroupShuffleXor(total, 4u);
  if unit > 8u {
    total += subgroupShuffleXor(total, 8u);
  }
  if unit > 16u {
    total += subgroupShuffleXor(total, 16u);
    attention_step_put_halved(t, chunk, sum0, lane);
    if attention_step_chunks > 1u {
      attention_step_put_halved(t, chunk + 8u, sum1, lane);
    }
    if attention_step_chunks > 2u {
      attention_step_put_halved(t, chunk + 16u, sum2, lane);
      attention_step_put_halved(t, chunk + 24u, sum3, lane);
    }
    if (t & 31u) < 2u {
      let at = (t >> 5u) * 4u + 2u * (t & 1u);
      attention_step_tops[at] = top.x;
      attention_step_tops[at + 1u] = top.y;
      attention_step_totals[at] = total.x;
      attention_step_totals[at + 1u] = total.y;
    }
  } else {
    // Smaller subgroups: of 32 invocations one eight after the other, all relative to one score.
    if t % unit < 2u {
      let at = t / unit * 4u + 2u * (t & 1u);
      attention_step_tops[at] = top.x;
      attention_step_tops[at + 1u] = top.y;
    }
    workgroupBarrier();
    let before = top;
    for (var i = 0u; i < attention_step_invocations / unit; i += 1u) {
      let at = i * 4u + 2u * (t & 1u);
      top = max(top, vec2<f32>(attention_step_tops[at], attention_step_tops[at + 1u]));
    }
    let rescale = attention_step_weight(before - top);
    let four = attention_step_four(rescale, odd);
    total *= rescale;
    workgroupBarrier();
    for (var i = 0u; i < 4u; i += 1u) {
      if (group & 3u) == i {
        attention_step_put(t, chunk, attention_step_scaled(sum0, four), i == 0u);
        if attention_step_chunks > 1u {
          attention_step_put(t, chunk + 8u, attention_step_scaled(sum1, four), i == 0u);
        }
        if attention_step_chunks > 2u {
          attention_step_put(t, chunk + 16u, attention_step_scaled(sum2, four), i == 0u);
          attention_step_put(t, chunk + 24u, attention_step_scaled(sum3, four), i == 0u);
        }
        if chunk < 2u && i * 8u % unit == 0u {
          let at = (t >> 5u) * 4u + 2u * chunk;
          attention_step_tops[at] = top.x;
          attention_step_tops[at + 1u] = top.y;
          if i == 0u {
            attention_step_totals[at] = 0.0;
            attention_step_totals[at + 1u] = 0.0;
          }
          attention_step_totals[at] += total.x;
          attention_step_totals[at + 1u] += total.y;
        }
      }
      workgroupBarrier();
    }
  }
  workgroupBarrier();
  let row = workgroup.y * ((p.rows * p.group + 3u) / 4u) + place.block;
  let parts = row * 4u * p.splits * (quads + 1u);
  for (var i = t; i < 4u * quads; i += attention_step_invocations) {
    let slot = attention_step_line(i);
    let quad = i - slot * quads;
    var largest = attention_step_tops[slot];
    for (var n = 1u; n < attention_step_invocations / 32u; n += 1u) {
      largest = max(largest, attention_step_tops[n * 4u + slot]);
    }
    var sum = vec4<f32>();
    var all = 0.0;
    for (var n = 0u; n < attention_step_invocations / 32u; n += 1u) {
      let factor = exp2((attention_step_tops[n * 4u + slot] - largest) * ATTENTION_STEP_LOG2E);
      all = fma(attention_step_totals[n * 4u + slot], factor, all);
      sum = fma(attention_step_sums[(n * 4u + slot) * quads + quad], vec4<f32>(factor), sum);
    }
    if taking_part == 1u {
      attention_step_finish(place, slot, quad, sum, all);
    } else {
      let at = parts + (slot * p.splits + place.split) * (quads + 1u);
      if quad == 0u {
        attention_step_parts[at] = vec4<f32>(largest, all, 0.0, 0.0);
      }
      attention_step_parts[at + 1u + quad] = sum;
    }
  }
  if taking_part == 1u {
    chain_done(p.block_queries, t, workgroups.y * workgroups.z);
    return;
  }

  // The last one of the shares: what it writes is after, and what it reads is before, what the others did to the counter.
  storageBarrier();
  if t == 0u {
    attention_step_arrived = atomicAdd(&attention_step_counters[row], 1u);
  }
  storageBarrier();
  if workgroupUniformLoad(&attention_step_arrived) != taking_part - 1u {
    return;
  }
  if t == 0u {
    atomicStore(&attention_step_counters[row], 0u);
  }
  let last = taking_part - 1u;
  let wide = 4u * p.quad_lanes;
  let lanes = max(attention_step_invocations / wide, 1u);  // that share out the shares
  for (var item0 = 0u; item0 < wide; item0 += attention_step_invocations) {
    let item = item0 + t % wide;
    let slot = item / p.quad_lanes;
    let quad = item % p.quad_lanes;
    let own = t / wide;
    let at = parts + slot * p.splits * (quads + 1u) + 1u + min(quad, quads - 1u);
    var values = attention_step_parts_at(at, own, lanes, last);
    if item0 == 0u {
      attention_step_weigh_shares(t, unit, parts, last);
      workgroupBarrier();
    }
    var sum = vec4<f32>();
    for (var s = own; s <= last; s += 8u * lanes) {
      sum = attention_step_merged(sum, slot, s, lanes, last, values);
      if s + 8u * lanes <= last {
        values = attention_step_parts_at(at, s + 8u * lanes, lanes, last);
      }
    }
    if lanes > 1u {
      attention_step_sums[t] = sum;
      workgroupBarrier();
      for (var n = 1u; n < lanes; n += 1u) {
        sum += attention_step_sums[min(n * wide + t, attention_step_invocations - 1u)];
      }
    }
    if own == 0u && quad < quads {
      attention_step_finish(place, slot, quad, sum, attention_step_totals[slot]);
    }
  }
  chain_done(p.block_queries, t, workgroups.y * workgroups.z);
}
