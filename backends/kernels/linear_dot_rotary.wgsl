enable subgroups;
// linear_dot.wgsl where the columns are queries, keys and values of one new row that attention_step.wgsl reads next: queries
// come out rotated by the row's position, and the new key, rotated, and value go straight to the cache as halves. Attention
// then finds all that it reads where it wants it (include/attention_step_kept.wgsl).
//
// Formula: include/linear.wgsl, include/rotary.wgsl. Columns are those of Q, K, V one after the other, in heads of `dim`
// values, a multiple of 8. Bindings: group 0, 0 = a rounded row (include/linear_round.wgsl), 1 = q [heads, dim], 2 = bias, 3 =
// (past, fresh) of the sequence (read), 4 = cos, 5 = sin [positions, half_rotary], 6 = the cache: keys [kv_heads,
// positions, dim], two halves to a word, and values alike from word `values` on, 7 = a chain's counters (include/chain.wgsl),
// 8 .. 10 = weights (weight_decode.wgsl). Parameters: immediate, 56 bytes. A row beyond `fresh` is padding, and nothing of it is stored.
//
// Workgroup: as linear_dot.wgsl. A subgroup's two columns are two values that rotation pairs, so that neighbours make what
// belongs together: of the values before 2 half_rotary of a head, unless interleaved, value 2 i is column i and value 2 i + 1
// column i + half_rotary, which a multiple of 4 is. All else has its own place.

struct LinearRotary {
  columns: u32,      // (heads + 2 kv_heads) dim
  blocks: u32,       // of 32 along k
  has_bias: u32,
  lanes: u32,        // subgroups that share a column
  norm: u32,         // x is an RMS norm's input, to which the norm's scale was applied
  epsilon: f32,      // the norm's
  heads: u32,
  kv_heads: u32,
  dim: u32,
  half_rotary: u32,  // 0: no rotation
  interleaved: u32,
  positions: u32,    // that the cache has room for
  values: u32,       // word of the cache where values begin
  chain: u32,        // include/chain.wgsl
}

const CHAIN_BINDING: u32 = 7u;
const WEIGHT_BINDING: u32 = 8u;
const LINEAR_STAGED: u32 = 928u;  // vec4s of a rounded row: 5,376 values

@coherent @group(0) @binding(1) var<storage, read_write> linear_q: array<f32>;
@group(0) @binding(2) var<storage, read_write> linear_bias: array<f32>;
@group(0) @binding(3) var<storage, read> linear_positions: array<vec2<i32>>;
@group(0) @binding(4) var<storage, read_write> linear_cos: array<f32>;
@group(0) @binding(5) var<storage, read_write> linear_sin: array<f32>;
@coherent @group(0) @binding(6) var<storage, read_write> linear_cache: array<u32>;
var<immediate> linear: LinearRotary;

var<workgroup> linear_sums: array<f32, 128>;  // per subgroup and value: its part of the sum

// What value i is.
struct LinearValue {
  head: u32,   // of Q, K, V
  d: u32,      // place in it
  pair: u32,   // which of the head's pairs it belongs to
  turns: bool,
  apart: bool, // it and its partner are not neighbours in the head
}

fn linear_value(i: u32) -> LinearValue {
  let p = linear;
  var head = i >> countTrailingZeros(p.dim);
  if countOneBits(p.dim) != 1u {
    head = i / p.dim;
  }
  let e = i - head * p.dim;
  let turns = head < p.heads + p.kv_heads && e < 2u * p.half_rotary;
  let apart = turns && p.interleaved == 0u;
  return LinearValue(head, select(e, (e >> 1u) + (e & 1u) * p.half_rotary, apart), e >> 1u, turns, apart);
}

// First blocks of the columns of value i, an even one, and of the one after it.
fn linear_columns(i: u32) -> vec2<u32> {
  let value = linear_value(i);
  let column = value.head * linear.dim + value.d;
  let next = column + select(1u, linear.half_rotary, value.apart);
  return min(vec2<u32>(column, next), vec2<u32>(linear.columns - 1u)) * linear.blocks;
}

// What a value needs besides its sum.
struct LinearBeside {
  bias: f32,
  cosine: f32,
  sine: f32,
}

fn linear_beside(value: LinearValue, position: u32) -> LinearBeside {
  var beside: LinearBeside;
  if linear.has_bias != 0u {
    beside.bias = linear_bias[value.head * linear.dim + value.d];
  }
  if value.turns {
    let at = position * linear.half_rotary + value.pair;
    beside.cosine = linear_cos[at];
    beside.sine = linear_sin[at];
  }
  return beside;
}

// Word of the cache where a key's or value's place lies.
fn linear_word(value: LinearValue, position: u32) -> u32 {
  let p = linear;
  let is_value = value.head >= p.heads + p.kv_heads;
  let kv_head = value.head - p.heads - select(0u, p.kv_heads, is_value);
  return select(0u, p.values, is_value) + ((kv_head * p.positions + position) * p.dim + value.d) / 2u;
}

@compute @workgroup_size(512, 1, 1)
fn linear_dot_rotary(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                     @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) subgroups: u32,
                     @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) size: u32) {
  let sequence = linear_positions[0];
  let parts = linear.lanes;
  let shift = countTrailingZeros(parts);
  let values = (subgroups >> shift) * 2u;
  let first = (group.y * groups.x + group.x) * values;
  let part = subgroup & (parts - 1u);
  let run = (linear.blocks + parts - 1u) >> shift;
  let begin = part * run + lane;
  let end = min(part * run + run, linear.blocks);
  let last = linear.blocks - 1u;
  let at = linear_columns(first + (subgroup >> shift) * 2u);
  let w0 = linear_fetch_two(at, min(begin, last));
  let w1 = linear_fetch_two(at, min(begin + size, last));
  // What an invocation that finishes a value needs besides sums.
  let t = subgroup * size + lane;
  let i = first + t;
  let finishes = t < values && i < linear.columns;
  let position = u32(sequence.x);
  let value = linear_value(i);
  var beside: LinearBeside;
  if finishes {
    beside = linear_beside(value, position);
  }
  chain_wait(linear.chain, t, group.y * groups.x + group.x);
  linear_stage(t);
  let squares = linear_fetch_squares(0u, lane);
  let sums = subgroupAdd(linear_two(w0, w1, at, begin, end, size));
  let inverse = linear_inverse(0u, squares, lane, size);
  if lane == 0u {
    linear_sums[subgroup * 2u] = sums.x;
    linear_sums[subgroup * 2u + 1u] = sums.y;
  }
  workgroupBarrier();
  var y = 0.0;
  if finishes {
    let slot = (t >> 1u) * parts * 2u + (t & 1u);
    var sum = linear_sums[slot];
    for (var p = 1u; p < parts; p += 1u) {
      sum += linear_sums[slot + p * 2u];
    }
    y = sum * inverse;
    if linear.has_bias != 0u {
      y += beside.bias;
    }
  }
  // A workgroup has values by fours: those that belong together are invocations of one subgroup, side by side.
  let partner = subgroupShuffleXor(y, 1u);
  if value.turns {
    y = rotary_turn(y, partner, (t & 1u) == 0u, beside.cosine, beside.sine);
  }
  let half = math_f32_to_f16(y);
  let one = subgroupShuffleXor(half, 1u);
  let two = subgroupShuffleXor(half, 2u);
  if finishes && value.head < linear.heads {
    linear_q[value.head * linear.dim + value.d] = y;
  } else if finishes && (t & select(1u, 2u, value.apart)) == 0u && sequence.y > 0 && position < linear.positions {
    linear_cache[linear_word(value, position)] = half | (select(one, two, value.apart) << 16u);
  }
  chain_done(linear.chain, t, groups.x * groups.y);
}
