// softmax(q k^T scale, capped, masked) v by cooperative matrices, for blocks of 64 queries that share keys and values:
// what attention_matrix_kv.wgsl and attention_matrix_encoder.wgsl have in common. Comes after attention_params.wgsl.
//
// Formula: FlashAttention-2 (Dao 2023). Four subgroups of 32 own 16 queries each and go over the keys in tiles
// together. Queries (rotated, scaled), keys, values and weights are float16 in products, scores and sums float32. An
// element of a cooperative matrix cannot be reached, so scores go through workgroup memory to the invocations that make
// weights of them; two have a query. For the same reason sums are not rescaled at every tile, but only where a query's
// largest score has grown by more than ATTENTION_GROWTH since: until then weights are up to 2^5 e^6 = 12910, well
// within a half.
//
// Bindings are the kernel's. It defines
//   attention_query(batch, kv_head, query, quad): four values of a query, rotated, not scaled
//   attention_key_part, attention_value_part(batch, kv_head, key, part): eight values of either, as halves
//   attention_range(batch, first_query, last_query): keys [x, y) that any of these queries sees; uniform
//   attention_sees(batch, query): keys [x, y) that the query sees
//   attention_bias(batch, kv_head, query, key): added to a score, if flags say so
//   attention_place(batch, kv_head, query): element of y where the query's head starts
//   attention_store(at, y): stores quad `at` of all of y
// With attention_plain every query sees all keys of its range and there is no cap, so that a mask which is one for all
// queries, and where the keys end, are numbers added to the scores of a tile. In place of a cap, parameters say what
// products of a query and a key are multiplied by before (softcap), and values in the end (window, its bits).
// Workgroup: 128 x 1 x 1, subgroups of 32. Heads of up to attention_dim values, a multiple of 8.

override attention_dim: u32 = 64u;   // 32, 64, 96 or 128
override attention_tile: u32 = 64u;  // keys that go by at once, 32 or 64; attention_dim * attention_tile <= 4096

override attention_plain: u32 = 0u;

const ATTENTION_QUERIES: u32 = 64u;
const ATTENTION_GROWTH: f32 = 6.0;
const ATTENTION_LOG2E: f32 = 1.44269502;
// Added to the exponent of 2: of the half's range, more is left for small weights.
const ATTENTION_LIFT: f32 = 5.0;
// In place of the score of a key that is not seen; and the smallest one of a key that is, with whatever mask.
const ATTENTION_HIDDEN: f32 = -2.0e38;
const ATTENTION_SMALLEST: f32 = -1.0e38;
const ATTENTION_LOWEST: f32 = -3.4028234663852886e38;

// Rows of eight halves more than they need, so that eight of them lie in different banks. Keys, then values; at first
// the queries.
var<workgroup> attention_tiles: array<vec4<f16>, attention_tile * (attention_dim + 8u) / 2u>;
// Of each subgroup 16 rows: scores, and sums on their way through; weights.
var<workgroup> attention_sheet: array<vec4<f32>, 16u * (attention_tile + 4u)>;
var<workgroup> attention_weights: array<vec4<f16>, 16u * (attention_tile + 8u)>;
// A mask that is one for all queries.
var<workgroup> attention_biases: array<f32, attention_tile>;
// The same by fours, with attention_plain: what is added to a key's score, less than ATTENTION_HIDDEN if it is hidden.
var<workgroup> attention_added: array<vec4<f32>, attention_tile / 4u>;

// Between invocations of a subgroup, which alone use its rows of the sheet and of the weights.
fn attention_sync() {
  subgroupBarrier();
}

// Which of a tile's parts of eight values an invocation moves, its i-th: (key of the tile, part).
fn attention_unit(t: u32, i: u32) -> vec2<u32> {
  let unit = t + i * 128u;
  return vec2<u32>(unit / (attention_dim / 8u), unit % (attention_dim / 8u));
}

// Zeros beyond the keys, where a cache may hold anything (a weight of 0 does not help against NaN), and beyond the head.
fn attention_load_key(batch: u32, kv_head: u32, key: u32, part: u32, end: u32) -> vec4<u32> {
  let last = attention.dim / 8u - 1u;
  let x = attention_key_part(batch, kv_head, min(key, max(end, 1u) - 1u), min(part, last));
  return select(vec4<u32>(), x, (key < end) & (part <= last));
}

fn attention_load_value(batch: u32, kv_head: u32, key: u32, part: u32, end: u32) -> vec4<u32> {
  let last = attention.dim / 8u - 1u;
  let x = attention_value_part(batch, kv_head, min(key, max(end, 1u) - 1u), min(part, last));
  return select(vec4<u32>(), x, (key < end) & (part <= last));
}

fn attention_halves(a: u32, b: u32) -> vec4<f16> {
  return vec4<f16>(vec2<f16>(unpack2x16float(a)), vec2<f16>(unpack2x16float(b)));
}

fn attention_put(at: u32, x: vec4<u32>) {
  attention_tiles[at] = attention_halves(x.x, x.y);
  attention_tiles[at + 1u] = attention_halves(x.z, x.w);
}

// Bias of one of the tile's keys for all queries, or 0.
fn attention_load_bias(t: u32, batch: u32, kv_head: u32, key0: u32, end: u32) -> f32 {
  if t < attention_tile && key0 + t < end && (attention.flags & 2u) != 0u && attention.mask_row == 0u {
    return attention_bias(batch, kv_head, 0u, key0 + t);
  }
  return 0.0;
}

// What is added to the score of one of the tile's keys. A mask's number, however low, leaves a key seen; -inf does not.
fn attention_load_added(t: u32, batch: u32, kv_head: u32, key0: u32, end: u32) -> f32 {
  if t < attention_tile && key0 + t < end {
    let bias = attention_load_bias(t, batch, kv_head, key0, end);
    let seen = select(bias, ATTENTION_SMALLEST, bias < ATTENTION_SMALLEST);
    return select(seen, ATTENTION_LOWEST, bias < ATTENTION_LOWEST);
  }
  return ATTENTION_LOWEST;
}

// Four scores as they count, of products. NaN stays.
fn attention_plain_final(products: vec4<f32>, scale: f32, added: vec4<f32>) -> vec4<f32> {
  let s = fma(products, vec4<f32>(scale), added);
  let hidden = vec4<f32>(ATTENTION_HIDDEN);
  return select(s, hidden, (s < hidden) | (added < hidden));
}

// What is made of the product of a query and a key.
fn attention_score(product: f32) -> f32 {
  if attention_plain == 1u {
    return product * attention.softcap;
  }
  return attention_cap(product);
}

// A score as it counts; `column` within the tile. NaN stays.
fn attention_final(score: f32, batch: u32, kv_head: u32, query: u32, key0: u32, column: u32, sees: vec2<u32>) -> f32 {
  let key = key0 + column;
  var hidden = (key < sees.x) | (key >= sees.y);
  var s = attention_score(score);
  if (attention.flags & 2u) != 0u {
    if attention.mask_row == 0u {
      s += attention_biases[column];
    } else if !hidden {
      s += attention_bias(batch, kv_head, query, key);
    }
    hidden = hidden | (s < ATTENTION_LOWEST);
  }
  return select(select(s, ATTENTION_SMALLEST, s < ATTENTION_SMALLEST), ATTENTION_HIDDEN, hidden);
}

fn attention_largest(s: vec4<f32>) -> f32 {
  return max(max(s.x, s.y), max(s.z, s.w));
}

// Whether scores of a tile have to be looked at one by one; `part`: the query sees a part of it.
fn attention_hides(part: bool) -> bool {
  let p = attention;
  if attention_plain == 1u {
    return (p.flags & 2u) != 0u && p.mask_row != 0u;
  }
  return subgroupAny((p.softcap > 0.0) | ((p.flags & 2u) != 0u) | part);
}

// Four weights, stored; their sum.
fn attention_weigh(at: u32, score: vec4<f32>, reference: f32) -> f32 {
  let weights = exp2(fma(score - vec4<f32>(reference), vec4<f32>(ATTENTION_LOG2E), vec4<f32>(ATTENTION_LIFT)));
  attention_weights[at] = vec4<f16>(weights);
  return (weights.x + weights.y) + (weights.z + weights.w);
}

// Multiplies 16 rows of 32 sums in the sheet, each by its lane's factor.
fn attention_rescale(sheet: u32, lane: u32, factor: f32) {
  for (var i = 0u; i < 4u; i += 1u) {
    let row = i * 4u + lane / 8u;
    let at = sheet + row * ((attention_tile + 4u) / 4u) + lane % 8u;
    attention_sheet[at] = attention_sheet[at] * subgroupShuffle(factor, row);
  }
}

// Stores 16 rows of 32 finished sums, columns from `column` on, each times its lane's factor.
fn attention_finish(sheet: u32, lane: u32, factor: f32, batch: u32, kv_head: u32, first_query: u32, column: u32) {
  for (var i = 0u; i < 4u; i += 1u) {
    let row = i * 4u + lane / 8u;
    let y = attention_sheet[sheet + row * ((attention_tile + 4u) / 4u) + lane % 8u] * subgroupShuffle(factor, row);
    let d = column + lane % 8u * 4u;
    if first_query + row < attention.rows * attention.group && d < attention.dim {
      attention_store((attention_place(batch, kv_head, first_query + row) + d) / 4u, y);
    }
  }
}

// naga does not know that what subgroupAny gives is one for a subgroup.
@diagnostic(off, derivative_uniformity)
fn attention_matrix(t: u32, subgroup: u32, lane: u32, batch: u32, kv_head: u32, block: u32) {
  let p = attention;
  let n_queries = p.rows * p.group;
  let block_query = block * ATTENTION_QUERIES;
  let first_query = block_query + subgroup * 16u;  // of the subgroup
  let query = first_query + lane % 16u;            // of the invocation, and of that 16 further
  let stride = (attention_dim + 8u) / 4u;
  let values = attention_tile * stride;
  let sheet_stride = (attention_tile + 4u) / 4u;
  let weight_stride = (attention_tile + 8u) / 4u;
  let sheet = subgroup * 16u * sheet_stride;
  let weights = subgroup * 16u * weight_stride;
  let my_scores = sheet + (lane % 16u) * sheet_stride + (lane / 16u) * (attention_tile / 8u);
  let my_weights = weights + (lane % 16u) * weight_stride + (lane / 16u) * (attention_tile / 8u);
  let range = attention_range(batch, block_query, min(block_query + ATTENTION_QUERIES, n_queries) - 1u);
  var sees = vec2<u32>(0u, 0u);
  if query < n_queries {
    sees = attention_sees(batch, query);
  }

  for (var i = t; i < ATTENTION_QUERIES * (attention_dim / 4u); i += 128u) {
    let slot = i / (attention_dim / 4u);
    let quad = i % (attention_dim / 4u);
    var value = vec4<f32>();
    if block_query + slot < n_queries && quad * 4u < p.dim {
      value = attention_query(batch, kv_head, block_query + slot, quad) * p.scale;
    }
    attention_tiles[slot * stride + quad] = vec4<f16>(value);
  }
  workgroupBarrier();
  let query_at = subgroup * 16u * stride;
  var q0 = coop_mat16x16<f16, A>();
  var q1 = coop_mat16x16<f16, A>();
  var q2 = coop_mat16x16<f16, A>();
  var q3 = coop_mat16x16<f16, A>();
  var q4 = coop_mat16x16<f16, A>();
  var q5 = coop_mat16x16<f16, A>();
  var q6 = coop_mat16x16<f16, A>();
  var q7 = coop_mat16x16<f16, A>();
  var o0 = coop_mat16x16<f32, C>();
  var o1 = coop_mat16x16<f32, C>();
  var o2 = coop_mat16x16<f32, C>();
  var o3 = coop_mat16x16<f32, C>();
  var o4 = coop_mat16x16<f32, C>();
  var o5 = coop_mat16x16<f32, C>();
  var o6 = coop_mat16x16<f32, C>();
  var o7 = coop_mat16x16<f32, C>();
  q0 = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[query_at + 0u], stride);
  q1 = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[query_at + 4u], stride);
  if attention_dim > 32u {
    q2 = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[query_at + 8u], stride);
    q3 = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[query_at + 12u], stride);
  }
  if attention_dim > 64u {
    q4 = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[query_at + 16u], stride);
    q5 = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[query_at + 20u], stride);
  }
  if attention_dim > 96u {
    q6 = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[query_at + 24u], stride);
    q7 = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[query_at + 28u], stride);
  }
  let u0 = attention_unit(t, 0u);
  let u1 = attention_unit(t, 1u);
  let u2 = attention_unit(t, 2u);
  let u3 = attention_unit(t, 3u);
  var k0 = vec4<u32>();
  var v0 = vec4<u32>();
  var k1 = vec4<u32>();
  var v1 = vec4<u32>();
  var k2 = vec4<u32>();
  var v2 = vec4<u32>();
  var k3 = vec4<u32>();
  var v3 = vec4<u32>();
  var bias = 0.0;
  k0 = attention_load_key(batch, kv_head, range.x + u0.x, u0.y, range.y);
  v0 = attention_load_value(batch, kv_head, range.x + u0.x, u0.y, range.y);
  if attention_dim * attention_tile > 1024u {
    k1 = attention_load_key(batch, kv_head, range.x + u1.x, u1.y, range.y);
    v1 = attention_load_value(batch, kv_head, range.x + u1.x, u1.y, range.y);
  }
  if attention_dim * attention_tile > 2048u {
    k2 = attention_load_key(batch, kv_head, range.x + u2.x, u2.y, range.y);
    v2 = attention_load_value(batch, kv_head, range.x + u2.x, u2.y, range.y);
  }
  if attention_dim * attention_tile > 3072u {
    k3 = attention_load_key(batch, kv_head, range.x + u3.x, u3.y, range.y);
    v3 = attention_load_value(batch, kv_head, range.x + u3.x, u3.y, range.y);
  }
  if attention_plain == 1u {
    bias = attention_load_added(t, batch, kv_head, range.x, range.y);
  } else {
    bias = attention_load_bias(t, batch, kv_head, range.x, range.y);
  }
  var started = false;                 // a key was seen, and so
  var reference = 0.0;                 // a score that weights are relative to
  var total = 0.0;                     // of the weights of this invocation
  for (var key0 = range.x; key0 < range.y; key0 += attention_tile) {
    workgroupBarrier();
    attention_put(u0.x * stride + u0.y * 2u, k0);
    attention_put(values + u0.x * stride + u0.y * 2u, v0);
    if attention_dim * attention_tile > 1024u {
      attention_put(u1.x * stride + u1.y * 2u, k1);
      attention_put(values + u1.x * stride + u1.y * 2u, v1);
    }
    if attention_dim * attention_tile > 2048u {
      attention_put(u2.x * stride + u2.y * 2u, k2);
      attention_put(values + u2.x * stride + u2.y * 2u, v2);
    }
    if attention_dim * attention_tile > 3072u {
      attention_put(u3.x * stride + u3.y * 2u, k3);
      attention_put(values + u3.x * stride + u3.y * 2u, v3);
    }
    if t < attention_tile {
      if attention_plain == 1u {
        attention_added[t / 4u][t % 4u] = bias;
      } else {
        attention_biases[t] = bias;
      }
    }
    workgroupBarrier();
    let next = key0 + attention_tile;
    if attention_plain == 0u || next < range.y {  // few tiles: nothing is read for one that does not come
      k0 = attention_load_key(batch, kv_head, next + u0.x, u0.y, range.y);
      v0 = attention_load_value(batch, kv_head, next + u0.x, u0.y, range.y);
      if attention_dim * attention_tile > 1024u {
        k1 = attention_load_key(batch, kv_head, next + u1.x, u1.y, range.y);
        v1 = attention_load_value(batch, kv_head, next + u1.x, u1.y, range.y);
      }
      if attention_dim * attention_tile > 2048u {
        k2 = attention_load_key(batch, kv_head, next + u2.x, u2.y, range.y);
        v2 = attention_load_value(batch, kv_head, next + u2.x, u2.y, range.y);
      }
      if attention_dim * attention_tile > 3072u {
        k3 = attention_load_key(batch, kv_head, next + u3.x, u3.y, range.y);
        v3 = attention_load_value(batch, kv_head, next + u3.x, u3.y, range.y);
      }
      if attention_plain == 1u {
        bias = attention_load_added(t, batch, kv_head, next, range.y);
      } else {
        bias = attention_load_bias(t, batch, kv_head, next, range.y);
      }
    }

    for (var n = 0u; n < attention_tile; n += 32u) {
      let at0 = n * stride;
      let at1 = (n + 16u) * stride;
      var s0 = coop_mat16x16<f32, C>();
      var s1 = coop_mat16x16<f32, C>();
      s0 = coopMultiplyAdd(q0, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at0 + 0u], stride), s0);
      s1 = coopMultiplyAdd(q0, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at1 + 0u], stride), s1);
      s0 = coopMultiplyAdd(q1, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at0 + 4u], stride), s0);
      s1 = coopMultiplyAdd(q1, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at1 + 4u], stride), s1);
      if attention_dim > 32u {
        s0 = coopMultiplyAdd(q2, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at0 + 8u], stride), s0);
        s1 = coopMultiplyAdd(q2, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at1 + 8u], stride), s1);
        s0 = coopMultiplyAdd(q3, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at0 + 12u], stride), s0);
        s1 = coopMultiplyAdd(q3, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at1 + 12u], stride), s1);
      }
      if attention_dim > 64u {
        s0 = coopMultiplyAdd(q4, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at0 + 16u], stride), s0);
        s1 = coopMultiplyAdd(q4, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at1 + 16u], stride), s1);
        s0 = coopMultiplyAdd(q5, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at0 + 20u], stride), s0);
        s1 = coopMultiplyAdd(q5, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at1 + 20u], stride), s1);
      }
      if attention_dim > 96u {
        s0 = coopMultiplyAdd(q6, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at0 + 24u], stride), s0);
        s1 = coopMultiplyAdd(q6, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at1 + 24u], stride), s1);
        s0 = coopMultiplyAdd(q7, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at0 + 28u], stride), s0);
        s1 = coopMultiplyAdd(q7, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[at1 + 28u], stride), s1);
      }
      let to0 = sheet + n / 4u;
      let to1 = to0 + 4u;
      let done0 = s0;
      let done1 = s1;
      coopStoreT(done0, &attention_sheet[to0], sheet_stride);
      coopStoreT(done1, &attention_sheet[to1], sheet_stride);
    }
    attention_sync();

    let hides = attention_hides(key0 < sees.x || next > sees.y);
    if hides {
      for (var i = 0u; i < attention_tile / 8u; i += 1u) {
        let column = (lane / 16u) * (attention_tile / 2u) + i * 4u;
        let s = attention_sheet[my_scores + i];
        attention_sheet[my_scores + i] =
          vec4<f32>(attention_final(s.x, batch, kv_head, query, key0, column, sees),
                    attention_final(s.y, batch, kv_head, query, key0, column + 1u, sees),
                    attention_final(s.z, batch, kv_head, query, key0, column + 2u, sees),
                    attention_final(s.w, batch, kv_head, query, key0, column + 3u, sees));
      }
    }
    var x0 = attention_sheet[my_scores + 0u];
    var x1 = attention_sheet[my_scores + 1u];
    var x2 = attention_sheet[my_scores + 2u];
    var x3 = attention_sheet[my_scores + 3u];
    let my_added = (lane / 16u) * (attention_tile / 8u);
    let score_scale = select(p.softcap, 1.0, hides);
    if attention_plain == 1u {
      x0 = attention_plain_final(x0, score_scale, attention_added[my_added]);
      x1 = attention_plain_final(x1, score_scale, attention_added[my_added + 1u]);
      x2 = attention_plain_final(x2, score_scale, attention_added[my_added + 2u]);
      x3 = attention_plain_final(x3, score_scale, attention_added[my_added + 3u]);
    }
    var x4 = x0;
    var x5 = x0;
    var x6 = x0;
    var x7 = x0;
    var largest = max(max(x0, x1), max(x2, x3));
    if attention_tile > 32u {
      x4 = attention_sheet[my_scores + 4u];
      x5 = attention_sheet[my_scores + 5u];
      x6 = attention_sheet[my_scores + 6u];
      x7 = attention_sheet[my_scores + 7u];
      if attention_plain == 1u {
        x4 = attention_plain_final(x4, score_scale, attention_added[my_added + 4u]);
        x5 = attention_plain_final(x5, score_scale, attention_added[my_added + 5u]);
        x6 = attention_plain_final(x6, score_scale, attention_added[my_added + 6u]);
        x7 = attention_plain_final(x7, score_scale, attention_added[my_added + 7u]);
      }
      largest = max(largest, max(max(x4, x5), max(x6, x7)));
    }
    var top = attention_largest(largest);
    top = max(top, subgroupShuffleXor(top, 16u));
    let seen = top > ATTENTION_HIDDEN;
    let grown = seen & started & (top > reference + ATTENTION_GROWTH);
    if subgroupAny(grown) {
      var factor = 1.0;
      if grown {
        factor = exp2((reference - top) * ATTENTION_LOG2E);
        total *= factor;
      }
      {
        let to1 = sheet + 4u;
        let old0 = o0;
        let old1 = o1;
        attention_sync();
        coopStoreT(old0, &attention_sheet[sheet], sheet_stride);
        coopStoreT(old1, &attention_sheet[to1], sheet_stride);
        attention_sync();
        attention_rescale(sheet, lane, factor);
        attention_sync();
        o0 = coopLoadT<coop_mat16x16<f32, C>>(&attention_sheet[sheet], sheet_stride);
        o1 = coopLoadT<coop_mat16x16<f32, C>>(&attention_sheet[to1], sheet_stride);
      }
      if attention_dim > 32u {
        let to1 = sheet + 4u;
        let old0 = o2;
        let old1 = o3;
        attention_sync();
        coopStoreT(old0, &attention_sheet[sheet], sheet_stride);
        coopStoreT(old1, &attention_sheet[to1], sheet_stride);
        attention_sync();
        attention_rescale(sheet, lane, factor);
        attention_sync();
        o2 = coopLoadT<coop_mat16x16<f32, C>>(&attention_sheet[sheet], sheet_stride);
        o3 = coopLoadT<coop_mat16x16<f32, C>>(&attention_sheet[to1], sheet_stride);
      }
      if attention_dim > 64u {
        let to1 = sheet + 4u;
        let old0 = o4;
        let old1 = o5;
        attention_sync();
        coopStoreT(old0, &attention_sheet[sheet], sheet_stride);
        coopStoreT(old1, &attention_sheet[to1], sheet_stride);
        attention_sync();
        attention_rescale(sheet, lane, factor);
        attention_sync();
        o4 = coopLoadT<coop_mat16x16<f32, C>>(&attention_sheet[sheet], sheet_stride);
        o5 = coopLoadT<coop_mat16x16<f32, C>>(&attention_sheet[to1], sheet_stride);
      }
      if attention_dim > 96u {
        let to1 = sheet + 4u;
        let old0 = o6;
        let old1 = o7;
        attention_sync();
        coopStoreT(old0, &attention_sheet[sheet], sheet_stride);
        coopStoreT(old1, &attention_sheet[to1], sheet_stride);
        attention_sync();
        attention_rescale(sheet, lane, factor);
        attention_sync();
        o6 = coopLoadT<coop_mat16x16<f32, C>>(&attention_sheet[sheet], sheet_stride);
        o7 = coopLoadT<coop_mat16x16<f32, C>>(&attention_sheet[to1], sheet_stride);
      }
    }
    if grown | (seen & !started) {
      reference = top;
      started = true;
    }
    total += attention_weigh(my_weights + 0u, x0, reference);
    total += attention_weigh(my_weights + 1u, x1, reference);
    total += attention_weigh(my_weights + 2u, x2, reference);
    total += attention_weigh(my_weights + 3u, x3, reference);
    if attention_tile > 32u {
      total += attention_weigh(my_weights + 4u, x4, reference);
      total += attention_weigh(my_weights + 5u, x5, reference);
      total += attention_weigh(my_weights + 6u, x6, reference);
      total += attention_weigh(my_weights + 7u, x7, reference);
    }
    attention_sync();

    for (var k = 0u; k < attention_tile; k += 16u) {
      let w = coopLoadT<coop_mat16x16<f16, A>>(&attention_weights[weights + k / 4u], weight_stride);
      let at = values + k * stride;
      o0 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 0u], stride), o0);
      o1 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 4u], stride), o1);
      if attention_dim > 32u {
        o2 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 8u], stride), o2);
        o3 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 12u], stride), o3);
      }
      if attention_dim > 64u {
        o4 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 16u], stride), o4);
        o5 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 20u], stride), o5);
      }
      if attention_dim > 96u {
        o6 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 24u], stride), o6);
        o7 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 28u], stride), o7);
      }
    }
  }

  total += subgroupShuffleXor(total, 16u);
  var factor = select(0.0, 1.0 / total, total > 0.0);
  if attention_plain == 1u {
    factor *= bitcast<f32>(p.window);
  }
  {
    let to1 = sheet + 4u;
    let done0 = o0;
    let done1 = o1;
    coopStoreT(done0, &attention_sheet[sheet], sheet_stride);
    coopStoreT(done1, &attention_sheet[to1], sheet_stride);
    attention_sync();
    attention_finish(sheet, lane, factor, batch, kv_head, first_query, 0u);
  }
  if attention_dim > 32u {
    let to1 = sheet + 4u;
    let done0 = o2;
    let done1 = o3;
    attention_sync();
    coopStoreT(done0, &attention_sheet[sheet], sheet_stride);
    coopStoreT(done1, &attention_sheet[to1], sheet_stride);
    attention_sync();
    attention_finish(sheet, lane, factor, batch, kv_head, first_query, 32u);
  }
  if attention_dim > 64u {
    let to1 = sheet + 4u;
    let done0 = o4;
    let done1 = o5;
    attention_sync();
    coopStoreT(done0, &attention_sheet[sheet], sheet_stride);
    coopStoreT(done1, &attention_sheet[to1], sheet_stride);
    attention_sync();
    attention_finish(sheet, lane, factor, batch, kv_head, first_query, 64u);
  }
  if attention_dim > 96u {
    let to1 = sheet + 4u;
    let done0 = o6;
    let done1 = o7;
    attention_sync();
    coopStoreT(done0, &attention_sheet[sheet], sheet_stride);
    coopStoreT(done1, &attention_sheet[to1], sheet_stride);
    attention_sync();
    attention_finish(sheet, lane, factor, batch, kv_head, first_query, 96u);
  }
}
