enable subgroups;
// Linear of one row with weights of 4 to 8 bits, in whole numbers (numerics FAST): the row comes rounded to 15 bits, as on
// the CPU, and is multiplied as two planes of bytes by dot4I8Packed. y may be written rounded, too, for a product that
// reads it next: that one then waits for no dispatch that does nothing else.
//
// Formula, bindings, parameters: include/linear.wgsl, but for binding 0 = a rounded row (include/linear_round.wgsl), and
// include/chain.wgsl.
// Workgroup: 512 x 1 x 1. linear.lanes subgroups in a row share two columns, each taking a run of blocks, or four columns if
// gated: two values of y; a subgroup's invocations take blocks in turn (x of the grid, at least enough for the largest
// subgroups; what lies beyond its width continues in y). Subgroups have 8 invocations or more, at most 32 if y is rounded:
// a workgroup then makes whole halves of blocks. Two blocks of each column are always asked for ahead.

var<workgroup> linear_sums: array<vec2<f32>, 128>;    // per subgroup and value: its part of the sum, or of gate and up
var<workgroup> linear_values: array<vec2<f32>, 128>;  // y, and y times the norm's scale

// First blocks of columns `column` and the one after it.
fn linear_columns(column: u32) -> vec2<u32> {
  let last = linear.columns - 1u;
  return vec2<u32>(min(column, last), min(column + 1u, last)) * linear.blocks;
}

// Of four columns, whose first blocks are in w0, w1.
fn linear_four(w0: LinearTwo, w1: LinearTwo, at0: vec2<u32>, at1: vec2<u32>, begin: u32, end: u32,
               size: u32) -> vec4<f32> {
  let last = linear.blocks - 1u;
  var next0 = w0;
  var next1 = w1;
  var sum0 = vec2<f32>();
  var sum1 = vec2<f32>();
  for (var b = begin; b < end; b += size) {
    let x = linear_fetch_x(0u, b);
    let left = next0;
    let right = next1;
    next0 = linear_fetch_two(at0, min(b + size, last));
    next1 = linear_fetch_two(at1, min(b + size, last));
    sum0 = linear_add_two(sum0, left, x);
    sum1 = linear_add_two(sum1, right, x);
  }
  return vec4<f32>(sum0, sum1);
}

fn linear_round_put(at: u32, word: u32) {
  linear_y2[at] = word;
}

@compute @workgroup_size(512, 1, 1)
fn linear_dot(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) subgroups: u32,
              @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) size: u32) {
  let gated = linear.ending >= LINEAR_GATED;
  let parts = linear.lanes;
  let shift = countTrailingZeros(parts);
  let values = (subgroups >> shift) * 2u;
  let first = (group.y * groups.x + group.x) * values;
  // Weights are asked for first: all else that is waited for takes less.
  let part = subgroup & (parts - 1u);
  let own = first + (subgroup >> shift) * 2u;
  let run = (linear.blocks + parts - 1u) >> shift;
  let begin = part * run + lane;
  let end = min(part * run + run, linear.blocks);
  let last = linear.blocks - 1u;
  let at0 = linear_columns(select(own, own * 2u, gated));
  let at1 = linear_columns(select(own, own * 2u + 2u, gated));
  let w0 = linear_fetch_two(at0, min(begin, last));
  let w1 = linear_fetch_two(at1, min(select(begin + size, begin, gated), last));
  // What an invocation that finishes a value needs besides sums.
  let t = subgroup * size + lane;
  let width = select(linear.columns, linear.columns / 2u, gated);
  let i = first + t;
  let at = select(linear.first, linear.first / 2u, gated) + i;
  let finishes = t < values && i < width;
  var beside = 0.0;
  var scale = 1.0;
  if finishes && linear.round == LINEAR_ROUND_SCALED {
    scale = linear_bias[at];
  }
  chain_wait(linear.x_stride, t, group.y * groups.x + group.x);
  if finishes && linear.residual != 0u {
    beside = linear_y1[at];
  }
  linear_stage(t);
  let squares = linear_fetch_squares(0u, lane);
  var sums = vec4<f32>();
  if gated {
    sums = linear_four(w0, w1, at0, at1, begin, end, size);
  } else {
    let two = linear_two(w0, w1, at0, begin, end, size);
    sums = vec4<f32>(two.x, 0.0, two.y, 0.0);
  }
  sums = subgroupAdd(sums);
  let inverse = linear_inverse(0u, squares, lane, size);
  if lane == 0u {
    linear_sums[subgroup * 2u] = sums.xy;
    linear_sums[subgroup * 2u + 1u] = sums.zw;
  }
  workgroupBarrier();
  var y = 0.0;
  if finishes {
    let slot = (t >> 1u) * parts * 2u + (t & 1u);
    var sum = linear_sums[slot];
    for (var p = 1u; p < parts; p += 1u) {
      sum += linear_sums[slot + p * 2u];
    }
    sum *= inverse;
    if gated {
      y = linear_gated(sum.x, sum.y);
    } else {
      y = linear_ended(at, sum.x, beside);
    }
    linear_put(0u, at, y);
  }
  if linear.round != 0u {
    if t < values {
      linear_values[t] = vec2<f32>(y, y * scale);
    }
    workgroupBarrier();
    let q = min(t, values / 4u - 1u) * 4u;
    let a = linear_values[q];
    let b = linear_values[q + 1u];
    let c = linear_values[q + 2u];
    let d = linear_values[q + 3u];
    let rounded = linear_rounded(vec4<f32>(a.y, b.y, c.y, d.y), vec4<f32>(a.x, b.x, c.x, d.x));
    if t < values / 4u && first + t * 4u < width {
      linear_round_store(0u, (at - i + first) / 4u + t, linear.width0 / 32u, rounded);
    }
  }
  chain_done(linear.x_stride, t, groups.x * groups.y);
}
