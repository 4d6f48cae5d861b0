// tern.EncoderAttention of up to 64 or 128 keys by cooperative matrices, all of them at once: queries, keys and values
// are float16 in memory, as for include/attention_encoder_halves.wgsl, and a mask is one for all queries. All are read
// as words, 16 bytes at once: a driver may read float16 elements one by one.
//
// Formula: softmax(q k^T scale + mask) v. Four or eight subgroups of 32 own 16 queries each and share keys and values,
// which are asked for before anything is waited for. A subgroup's scores come 32 keys at a time through workgroup
// memory to the invocations that make weights of them, two a query that take turns of four keys, and stay in their
// registers until the largest is known, so that no sum is rescaled. Weights are float16, up to 2^5, sums float32.
//
// Bindings: group 0, 0 = q [batch, rows, heads dim], 2 = k, 3 = v [batch, keys, heads dim], of each four in the order
// 0 2 1 3, 1 = y as float32, or 5 = half of y as float16 in that order (flag 8), 4 = mask. Parameters:
// include/attention_params.wgsl. Grid: x = block of 16 queries for each subgroup, y = head, or with attention_ahead the
// first of the heads that are as many apart as y has groups, z = batch. Workgroup: 128 or 256 x 1 x 1, subgroups of 32.
// 16 rows and more: the last block begins early enough to be whole, and stores what no other one does.
enable f16;
enable subgroups;
enable wgpu_cooperative_matrix;

override attention_dim: u32 = 32u;       // of a head: 32 or 64
override attention_keys: u32 = 128u;     // most, 64 or 128
override attention_subgroups: u32 = 4u;  // 16 queries each, no more of them than keys
override attention_ahead: u32 = 0u;      // 1: a workgroup computes heads one after the other, and asks for the next
                                         // one's parts while it works on one; 0: a workgroup for each head

const ATTENTION_LOG2E: f32 = 1.44269502;
// Added to the exponent of 2: of the half's range, more is left for small weights.
const ATTENTION_LIFT: f32 = 5.0;
// The smallest number that counts for what a mask adds to a key's score; below the lowest float the key is not seen.
const ATTENTION_SMALLEST: f32 = -1.0e38;
const ATTENTION_LOWEST: f32 = -3.4028234663852886e38;
// Scores are exponents of 2. What is added to those of keys that are not seen, and what all others are larger than.
const ATTENTION_UNSEEN: f32 = -3.0e38;
const ATTENTION_HIDDEN: f32 = -2.0e38;
// vec4s of a row of 32 scores, eight more: what four rows store, or load by turns of two invocations, lies in different
// banks.
const ATTENTION_SHEET: u32 = 10u;

@group(0) @binding(0) var<storage, read> attention_q: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> attention_y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> attention_k: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> attention_v: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> attention_mask: array<f32>;
@group(0) @binding(5) var<storage, read_write> attention_y_halves: array<vec4<u32>>;

// Keys, then values, rows of eight halves more than they need. Before the keys queries are in their place, and after
// them weights, 16 rows of as many keys as a head has values for each subgroup: the less memory a workgroup has, the
// more of them a device holds, and while one waits another works.
var<workgroup> attention_tiles: array<vec4<f16>, attention_keys * (attention_dim + 8u) / 2u>;
// Of each subgroup 16 rows: scores, and sums on their way out.
var<workgroup> attention_sheet: array<vec4<f32>, 160u * attention_subgroups>;
// What is added to each key's scores.
var<workgroup> attention_added: array<vec4<f32>, attention_keys / 4u>;

// The row of an invocation's part, of those that are moved at once. Eight invocations, which store together, have two
// rows of 32 values: four rows apart those lie in different banks, one row apart an eighth of them meets.
fn attention_row(turn: u32) -> u32 {
  if attention_dim > 32u {
    return turn;
  }
  return turn / 8u * 8u + turn % 2u * 4u + turn % 8u / 2u;
}

fn attention_halves(a: u32, b: u32) -> vec4<f16> {
  return vec4<f16>(vec2<f16>(unpack2x16float(a)), vec2<f16>(unpack2x16float(b)));
}

// Eight halves.
fn attention_put(at: u32, part: vec4<u32>) {
  attention_tiles[at] = attention_halves(part.x, part.y);
  attention_tiles[at + 1u] = attention_halves(part.z, part.w);
}

// The same of a key or value, zeros if it is not seen.
fn attention_put_seen(at: u32, part: vec4<u32>, is_seen: bool) {
  attention_put(at, select(vec4<u32>(), part, is_seen));
}

// A mask's number for a key, whatever it may be where there is none. No branch, so that nothing that comes after it is
// asked for later; without a mask all steps are 0.
fn attention_bias(batch: u32, head: u32, key: u32) -> f32 {
  let p = attention;
  return attention_mask[batch * p.values + head * p.mask_head + min(key, p.keys - 1u) * p.splits];
}

// What is added to the scores of a key. A mask's number, however low, leaves a key seen; -inf does not. NaN stays.
fn attention_addition(bias: f32, key: u32) -> f32 {
  let p = attention;
  let seen = select(bias, ATTENTION_SMALLEST, bias < ATTENTION_SMALLEST) * ATTENTION_LOG2E;
  let masked = select(seen, ATTENTION_UNSEEN, bias < ATTENTION_LOWEST);
  return select(select(0.0, masked, (p.flags & 2u) != 0u), ATTENTION_UNSEEN, key >= p.keys);
}

// Four products as exponents of 2.
fn attention_read(at: u32, added: u32, scale: f32) -> vec4<f32> {
  return fma(attention_sheet[at], vec4<f32>(scale), attention_added[added]);
}

// Four weights, stored; their sum.
fn attention_weigh_four(at: u32, score: vec4<f32>, reference: f32) -> f32 {
  let weights = exp2(score - vec4<f32>(reference));
  attention_tiles[at] = vec4<f16>(weights);
  return (weights.x + weights.y) + (weights.z + weights.w);
}

// The 16 of 32 keys that an invocation makes, stored; `total` and their sum.
fn attention_weigh(at: u32, s0: vec4<f32>, s1: vec4<f32>, s2: vec4<f32>, s3: vec4<f32>, reference: f32,
                   total: f32) -> f32 {
  return total + attention_weigh_four(at, s0, reference) + attention_weigh_four(at + 2u, s1, reference) +
         attention_weigh_four(at + 4u, s2, reference) + attention_weigh_four(at + 6u, s3, reference);
}

// Stores 16 rows of 32 finished sums, each times the factor that its two lanes have: rows from `first` on, element `at`
// of y being where the first one's go, `step` elements from row to row.
fn attention_finish(sheet: u32, lane: u32, factor: f32, first: u32, at: u32, step: u32) {
  for (var i = 0u; i < 2u; i += 1u) {
    let row = i * 8u + lane / 4u;
    let scale = subgroupShuffle(factor, row * 2u);
    let y0 = attention_sheet[sheet + row * ATTENTION_SHEET + lane % 4u * 2u] * scale;
    let y1 = attention_sheet[sheet + row * ATTENTION_SHEET + lane % 4u * 2u + 1u] * scale;
    let place = at + row * step + lane % 4u * 8u;
    if row >= first {
      if (attention.flags & 8u) != 0u {
        let h0 = y0 * 0.5;
        let h1 = y1 * 0.5;
        attention_y_halves[place / 8u] = vec4<u32>(pack2x16float(h0.xy), pack2x16float(h0.zw), pack2x16float(h1.xy),
                                                   pack2x16float(h1.zw));
      } else {
        attention_y[place / 4u] = y0.xzyw;
        attention_y[place / 4u + 1u] = y1.xzyw;
      }
    }
  }
}

// What an invocation moves: parts of eight values of its subgroup's queries, of keys and of values, and what a mask has
// for those keys, and for the one that has the invocation's number.
struct AttentionAsked {
  q0: vec4<u32>,
  q1: vec4<u32>,
  q2: vec4<u32>,
  q3: vec4<u32>,
  k0: vec4<u32>,
  k1: vec4<u32>,
  k2: vec4<u32>,
  k3: vec4<u32>,
  k4: vec4<u32>,
  k5: vec4<u32>,
  k6: vec4<u32>,
  k7: vec4<u32>,
  v0: vec4<u32>,
  v1: vec4<u32>,
  v2: vec4<u32>,
  v3: vec4<u32>,
  v4: vec4<u32>,
  v5: vec4<u32>,
  v6: vec4<u32>,
  v7: vec4<u32>,
  b0: f32,
  b1: f32,
  b2: f32,
  b3: f32,
  b4: f32,
  b5: f32,
  b6: f32,
  b7: f32,
  bias: f32,
}

// Asks for all that is read of a head, and looks at nothing.
fn attention_ask(batch: u32, head: u32, first_query: u32, t: u32, lane: u32) -> AttentionAsked {
  let p = attention;
  let parts = attention_dim / 8u;
  let rows_apart = attention_subgroups * 32u / parts;
  let moves = attention_keys / rows_apart;
  let row_step = p.kv_heads * parts;
  let last_key = p.keys - 1u;
  let key = attention_row(t / parts);
  let source = (batch * p.keys * p.kv_heads + head) * parts + t % parts;
  let query = first_query + attention_row(lane / parts);
  let query_source = (batch * p.rows + query) * row_step + head * parts + lane % parts;
  let query_step = 32u / parts * row_step;
  var asked = AttentionAsked();
  asked.q0 = attention_q[query_source + 0u * query_step];
  asked.q1 = attention_q[query_source + 1u * query_step];
  if attention_dim > 32u {
    asked.q2 = attention_q[query_source + 2u * query_step];
    asked.q3 = attention_q[query_source + 3u * query_step];
  }
  asked.bias = attention_bias(batch, head, t);
  asked.b0 = attention_bias(batch, head, key + 0u * rows_apart);
  asked.b1 = attention_bias(batch, head, key + 1u * rows_apart);
  let at0 = source + min(key + 0u * rows_apart, last_key) * row_step;
  asked.k0 = attention_k[at0];
  asked.v0 = attention_v[at0];
  let at1 = source + min(key + 1u * rows_apart, last_key) * row_step;
  asked.k1 = attention_k[at1];
  asked.v1 = attention_v[at1];
  if moves > 2u {
    asked.b2 = attention_bias(batch, head, key + 2u * rows_apart);
    asked.b3 = attention_bias(batch, head, key + 3u * rows_apart);
    let at2 = source + min(key + 2u * rows_apart, last_key) * row_step;
    asked.k2 = attention_k[at2];
    asked.v2 = attention_v[at2];
    let at3 = source + min(key + 3u * rows_apart, last_key) * row_step;
    asked.k3 = attention_k[at3];
    asked.v3 = attention_v[at3];
  }
  if moves > 4u {
    asked.b4 = attention_bias(batch, head, key + 4u * rows_apart);
    asked.b5 = attention_bias(batch, head, key + 5u * rows_apart);
    asked.b6 = attention_bias(batch, head, key + 6u * rows_apart);
    asked.b7 = attention_bias(batch, head, key + 7u * rows_apart);
    let at4 = source + min(key + 4u * rows_apart, last_key) * row_step;
    asked.k4 = attention_k[at4];
    asked.v4 = attention_v[at4];
    let at5 = source + min(key + 5u * rows_apart, last_key) * row_step;
    asked.k5 = attention_k[at5];
    asked.v5 = attention_v[at5];
    let at6 = source + min(key + 6u * rows_apart, last_key) * row_step;
    asked.k6 = attention_k[at6];
    asked.v6 = attention_v[at6];
    let at7 = source + min(key + 7u * rows_apart, last_key) * row_step;
    asked.k7 = attention_k[at7];
    asked.v7 = attention_v[at7];
  }
  return asked;
}

@compute @workgroup_size(attention_subgroups * 32u, 1, 1)
fn attention_matrix_whole(@builtin(local_invocation_index) t: u32, @builtin(subgroup_id) subgroup: u32,
                          @builtin(subgroup_invocation_id) lane: u32, @builtin(workgroup_id) workgroup: vec3<u32>,
                          @builtin(num_workgroups) groups: vec3<u32>) {
  let p = attention;
  let batch = workgroup.z;
  let long = attention_keys > 64u;
  let stride = (attention_dim + 8u) / 4u;
  let values = attention_keys * stride;
  // Parts of eight values that this invocation moves, of keys 2, 4 or 8: of every `rows_apart`th key.
  let parts = attention_dim / 8u;
  let rows_apart = attention_subgroups * 32u / parts;
  let moves = attention_keys / rows_apart;
  let row_step = p.kv_heads * attention_dim;
  let key = attention_row(t / parts);
  let to = key * stride + t % parts * 2u;
  let to_step = rows_apart * stride;
  // Of the subgroup: its queries, or the last 16, of which it has those from `fresh_row` on.
  let block_query = (workgroup.x * attention_subgroups + subgroup) * 16u;
  let first_query = min(block_query, p.rows - 16u);
  let fresh_row = block_query - first_query;
  let query_rows = 32u / parts;  // that the subgroup moves at once
  let queries = subgroup * 16u * stride;  // and later weights
  let query_to = queries + attention_row(lane / parts) * stride + lane % parts * 2u;
  let query_to_step = query_rows * stride;
  let sheet = subgroup * 16u * ATTENTION_SHEET;
  let sheet_far = sheet + 4u;
  let my_scores = sheet + lane / 2u * ATTENTION_SHEET + lane % 2u;
  let my_added = lane % 2u;
  let my_weights = queries + lane / 2u * stride + lane % 2u;
  let scale = p.softcap * ATTENTION_LOG2E;

  var head = workgroup.y;
  var asked = attention_ask(batch, head, first_query, t, lane);
  loop {
    attention_put(query_to + 0u * query_to_step, asked.q0);
    attention_put(query_to + 1u * query_to_step, asked.q1);
    if attention_dim > 32u {
      attention_put(query_to + 2u * query_to_step, asked.q2);
      attention_put(query_to + 3u * query_to_step, asked.q3);
    }
    subgroupBarrier();
    var q0 = coop_mat16x16<f16, A>();
    var q1 = coop_mat16x16<f16, A>();
    var q2 = coop_mat16x16<f16, A>();
    var q3 = coop_mat16x16<f16, A>();
    q0 = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[queries + 0u], stride);
    q1 = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[queries + 4u], stride);
    if attention_dim > 32u {
      q2 = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[queries + 8u], stride);
      q3 = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[queries + 12u], stride);
    }
    workgroupBarrier();  // queries are with those that need them
    let seen0 = attention_addition(asked.b0, key + 0u * rows_apart) > ATTENTION_HIDDEN;
    attention_put_seen(to + 0u * to_step, asked.k0, seen0);
    attention_put_seen(values + to + 0u * to_step, asked.v0, seen0);
    let seen1 = attention_addition(asked.b1, key + 1u * rows_apart) > ATTENTION_HIDDEN;
    attention_put_seen(to + 1u * to_step, asked.k1, seen1);
    attention_put_seen(values + to + 1u * to_step, asked.v1, seen1);
    if moves > 2u {
      let seen2 = attention_addition(asked.b2, key + 2u * rows_apart) > ATTENTION_HIDDEN;
      attention_put_seen(to + 2u * to_step, asked.k2, seen2);
      attention_put_seen(values + to + 2u * to_step, asked.v2, seen2);
      let seen3 = attention_addition(asked.b3, key + 3u * rows_apart) > ATTENTION_HIDDEN;
      attention_put_seen(to + 3u * to_step, asked.k3, seen3);
      attention_put_seen(values + to + 3u * to_step, asked.v3, seen3);
    }
    if moves > 4u {
      let seen4 = attention_addition(asked.b4, key + 4u * rows_apart) > ATTENTION_HIDDEN;
      attention_put_seen(to + 4u * to_step, asked.k4, seen4);
      attention_put_seen(values + to + 4u * to_step, asked.v4, seen4);
      let seen5 = attention_addition(asked.b5, key + 5u * rows_apart) > ATTENTION_HIDDEN;
      attention_put_seen(to + 5u * to_step, asked.k5, seen5);
      attention_put_seen(values + to + 5u * to_step, asked.v5, seen5);
      let seen6 = attention_addition(asked.b6, key + 6u * rows_apart) > ATTENTION_HIDDEN;
      attention_put_seen(to + 6u * to_step, asked.k6, seen6);
      attention_put_seen(values + to + 6u * to_step, asked.v6, seen6);
      let seen7 = attention_addition(asked.b7, key + 7u * rows_apart) > ATTENTION_HIDDEN;
      attention_put_seen(to + 7u * to_step, asked.k7, seen7);
      attention_put_seen(values + to + 7u * to_step, asked.v7, seen7);
    }
    if t < attention_keys {
      attention_added[t / 4u][t % 4u] = attention_addition(asked.bias, t);
    }
    workgroupBarrier();
    let query_at = (batch * p.rows + first_query) * row_step + head * attention_dim;
    let next = head + groups.y;
    if attention_ahead == 1u {
      if next < p.kv_heads {
        asked = attention_ask(batch, next, first_query, t, lane);
      }
    }

    var s0 = coop_mat16x16<f32, C>();
    var s1 = coop_mat16x16<f32, C>();
    var r0 = coop_mat16x16<f32, C>();
    var r1 = coop_mat16x16<f32, C>();
    var x0 = vec4<f32>();
    var x1 = vec4<f32>();
    var x2 = vec4<f32>();
    var x3 = vec4<f32>();
    var x4 = vec4<f32>();
    var x5 = vec4<f32>();
    var x6 = vec4<f32>();
    var x7 = vec4<f32>();
    var x8 = vec4<f32>(ATTENTION_UNSEEN);
    var x9 = vec4<f32>(ATTENTION_UNSEEN);
    var x10 = vec4<f32>(ATTENTION_UNSEEN);
    var x11 = vec4<f32>(ATTENTION_UNSEEN);
    var x12 = vec4<f32>(ATTENTION_UNSEEN);
    var x13 = vec4<f32>(ATTENTION_UNSEEN);
    var x14 = vec4<f32>(ATTENTION_UNSEEN);
    var x15 = vec4<f32>(ATTENTION_UNSEEN);
    s0 = coop_mat16x16<f32, C>();
    s1 = coop_mat16x16<f32, C>();
    s0 = coopMultiplyAdd(q0, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[0u * stride + 0u], stride), s0);
    s1 = coopMultiplyAdd(q0, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[16u * stride + 0u], stride), s1);
    s0 = coopMultiplyAdd(q1, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[0u * stride + 4u], stride), s0);
    s1 = coopMultiplyAdd(q1, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[16u * stride + 4u], stride), s1);
    if attention_dim > 32u {
      s0 = coopMultiplyAdd(q2, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[0u * stride + 8u], stride), s0);
      s1 = coopMultiplyAdd(q2, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[16u * stride + 8u], stride), s1);
      s0 = coopMultiplyAdd(q3, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[0u * stride + 12u], stride), s0);
      s1 = coopMultiplyAdd(q3, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[16u * stride + 12u], stride), s1);
    }
    coopStoreT(s0, &attention_sheet[sheet], ATTENTION_SHEET);
    coopStoreT(s1, &attention_sheet[sheet_far], ATTENTION_SHEET);
    r0 = coop_mat16x16<f32, C>();
    r1 = coop_mat16x16<f32, C>();
    r0 = coopMultiplyAdd(q0, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[32u * stride + 0u], stride), r0);
    r1 = coopMultiplyAdd(q0, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[48u * stride + 0u], stride), r1);
    r0 = coopMultiplyAdd(q1, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[32u * stride + 4u], stride), r0);
    r1 = coopMultiplyAdd(q1, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[48u * stride + 4u], stride), r1);
    if attention_dim > 32u {
      r0 = coopMultiplyAdd(q2, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[32u * stride + 8u], stride), r0);
      r1 = coopMultiplyAdd(q2, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[48u * stride + 8u], stride), r1);
      r0 = coopMultiplyAdd(q3, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[32u * stride + 12u], stride), r0);
      r1 = coopMultiplyAdd(q3, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[48u * stride + 12u], stride), r1);
    }
    subgroupBarrier();
    x0 = attention_read(my_scores + 0u, my_added + 0u, scale);
    x1 = attention_read(my_scores + 2u, my_added + 2u, scale);
    x2 = attention_read(my_scores + 4u, my_added + 4u, scale);
    x3 = attention_read(my_scores + 6u, my_added + 6u, scale);
    subgroupBarrier();
    coopStoreT(r0, &attention_sheet[sheet], ATTENTION_SHEET);
    coopStoreT(r1, &attention_sheet[sheet_far], ATTENTION_SHEET);
    if long {
      s0 = coop_mat16x16<f32, C>();
      s1 = coop_mat16x16<f32, C>();
      s0 = coopMultiplyAdd(q0, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[64u * stride + 0u], stride), s0);
      s1 = coopMultiplyAdd(q0, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[80u * stride + 0u], stride), s1);
      s0 = coopMultiplyAdd(q1, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[64u * stride + 4u], stride), s0);
      s1 = coopMultiplyAdd(q1, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[80u * stride + 4u], stride), s1);
      if attention_dim > 32u {
        s0 = coopMultiplyAdd(q2, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[64u * stride + 8u], stride), s0);
        s1 = coopMultiplyAdd(q2, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[80u * stride + 8u], stride), s1);
        s0 = coopMultiplyAdd(q3, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[64u * stride + 12u], stride), s0);
        s1 = coopMultiplyAdd(q3, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[80u * stride + 12u], stride), s1);
      }
    }
    subgroupBarrier();
    x4 = attention_read(my_scores + 0u, my_added + 8u, scale);
    x5 = attention_read(my_scores + 2u, my_added + 10u, scale);
    x6 = attention_read(my_scores + 4u, my_added + 12u, scale);
    x7 = attention_read(my_scores + 6u, my_added + 14u, scale);
    if long {
      subgroupBarrier();
      coopStoreT(s0, &attention_sheet[sheet], ATTENTION_SHEET);
      coopStoreT(s1, &attention_sheet[sheet_far], ATTENTION_SHEET);
      r0 = coop_mat16x16<f32, C>();
      r1 = coop_mat16x16<f32, C>();
      r0 = coopMultiplyAdd(q0, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[96u * stride + 0u], stride), r0);
      r1 = coopMultiplyAdd(q0, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[112u * stride + 0u], stride), r1);
      r0 = coopMultiplyAdd(q1, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[96u * stride + 4u], stride), r0);
      r1 = coopMultiplyAdd(q1, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[112u * stride + 4u], stride), r1);
      if attention_dim > 32u {
        r0 = coopMultiplyAdd(q2, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[96u * stride + 8u], stride), r0);
        r1 = coopMultiplyAdd(q2, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[112u * stride + 8u], stride), r1);
        r0 = coopMultiplyAdd(q3, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[96u * stride + 12u], stride), r0);
        r1 = coopMultiplyAdd(q3, coopLoad<coop_mat16x16<f16, B>>(&attention_tiles[112u * stride + 12u], stride), r1);
      }
      subgroupBarrier();
      x8 = attention_read(my_scores + 0u, my_added + 16u, scale);
      x9 = attention_read(my_scores + 2u, my_added + 18u, scale);
      x10 = attention_read(my_scores + 4u, my_added + 20u, scale);
      x11 = attention_read(my_scores + 6u, my_added + 22u, scale);
      subgroupBarrier();
      coopStoreT(r0, &attention_sheet[sheet], ATTENTION_SHEET);
      coopStoreT(r1, &attention_sheet[sheet_far], ATTENTION_SHEET);
      subgroupBarrier();
      x12 = attention_read(my_scores + 0u, my_added + 24u, scale);
      x13 = attention_read(my_scores + 2u, my_added + 26u, scale);
      x14 = attention_read(my_scores + 4u, my_added + 28u, scale);
      x15 = attention_read(my_scores + 6u, my_added + 30u, scale);
    }

    var largest = max(max(max(x0, x1), max(x2, x3)), max(max(x4, x5), max(x6, x7)));
    largest = max(largest, max(max(max(x8, x9), max(x10, x11)), max(max(x12, x13), max(x14, x15))));
    var top = max(max(largest.x, largest.y), max(largest.z, largest.w));
    top = max(top, subgroupShuffleXor(top, 1u));
    let reference = select(0.0, top, top > ATTENTION_HIDDEN) - ATTENTION_LIFT;
    workgroupBarrier();  // nobody reads keys any more
    var o0 = coop_mat16x16<f32, C>();
    var o1 = coop_mat16x16<f32, C>();
    var o2 = coop_mat16x16<f32, C>();
    var o3 = coop_mat16x16<f32, C>();
    var total = 0.0;
    total = attention_weigh(my_weights, x0, x1, x2, x3, reference, total);
    if attention_dim > 32u {
      total = attention_weigh(my_weights + 8u, x4, x5, x6, x7, reference, total);
    }
    subgroupBarrier();
    for (var k = 0u; k < attention_dim; k += 16u) {
      let w = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[queries + k / 4u], stride);
      let at = values + k * stride;
      o0 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 0u], stride), o0);
      o1 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 4u], stride), o1);
      if attention_dim > 32u {
        o2 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 8u], stride), o2);
        o3 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 12u], stride), o3);
      }
    }
    if attention_dim == 32u {
      subgroupBarrier();
      total = attention_weigh(my_weights, x4, x5, x6, x7, reference, total);
      subgroupBarrier();
      for (var k = 0u; k < attention_dim; k += 16u) {
        let w = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[queries + k / 4u], stride);
        let at = values + (32u + k) * stride;
        o0 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 0u], stride), o0);
        o1 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 4u], stride), o1);
      }
    }
    if long {
      subgroupBarrier();
      total = attention_weigh(my_weights, x8, x9, x10, x11, reference, total);
      if attention_dim > 32u {
        total = attention_weigh(my_weights + 8u, x12, x13, x14, x15, reference, total);
      }
      subgroupBarrier();
      for (var k = 0u; k < attention_dim; k += 16u) {
        let w = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[queries + k / 4u], stride);
        let at = values + (64u + k) * stride;
        o0 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 0u], stride), o0);
        o1 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 4u], stride), o1);
        if attention_dim > 32u {
          o2 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 8u], stride), o2);
          o3 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 12u], stride), o3);
        }
      }
      if attention_dim == 32u {
        subgroupBarrier();
        total = attention_weigh(my_weights, x12, x13, x14, x15, reference, total);
        subgroupBarrier();
        for (var k = 0u; k < attention_dim; k += 16u) {
          let w = coopLoadT<coop_mat16x16<f16, A>>(&attention_tiles[queries + k / 4u], stride);
          let at = values + (96u + k) * stride;
          o0 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 0u], stride), o0);
          o1 = coopMultiplyAdd(w, coopLoadT<coop_mat16x16<f16, B>>(&attention_tiles[at + 4u], stride), o1);
        }
      }
    }

    total += subgroupShuffleXor(total, 1u);
    let factor = select(0.0, 1.0 / total, total > 0.0) * bitcast<f32>(p.window);
    coopStoreT(o0, &attention_sheet[sheet], ATTENTION_SHEET);
    coopStoreT(o1, &attention_sheet[sheet_far], ATTENTION_SHEET);
    subgroupBarrier();
    attention_finish(sheet, lane, factor, fresh_row, query_at, row_step);
    if attention_dim > 32u {
      subgroupBarrier();
      coopStoreT(o2, &attention_sheet[sheet], ATTENTION_SHEET);
      coopStoreT(o3, &attention_sheet[sheet_far], ATTENTION_SHEET);
      subgroupBarrier();
      attention_finish(sheet, lane, factor, fresh_row, query_at + 32u, row_step);
    }
    if attention_ahead == 0u {
      break;
    } else {
      // Others may still read weights and values: nobody fills their places before the next workgroup barrier.
      if next >= p.kv_heads {
        break;
      }
      head = next;
    }
  }
}
