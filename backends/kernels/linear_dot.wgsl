enable subgroups;
// Linear of one row with weights of 4 to 8 bits, in whole numbers (numerics FAST): the row comes rounded to 15 bits, as on
// the CPU, and is multiplied as two planes of bytes by dot4I8Packed. y may be written rounded, too, for a product that
// reads it next: that one then waits for no dispatch that does nothing else.
//
// Formula, bindings, parameters: include/linear.wgsl, but for binding 0 = a rounded row (include/linear_round.wgsl).
// Workgroup: 256 x 1 x 1; a subgroup makes two values of y from two columns, or four if gated; its invocations take blocks
// in turn (x of the grid, at least enough for the largest subgroups; what lies beyond its width continues in y). Subgroups
// have 8 invocations or more, at most 32 if y is rounded: a workgroup then makes whole halves of blocks. What a dispatch
// waits for is memory, so eight blocks of weights are always asked for ahead.

var<workgroup> linear_sums: array<vec2<f32>, 64>;  // of the workgroup's values of y: sum, or gate and up

// A block of two columns.
struct LinearTwo {
  first: LinearPacked,
  second: LinearPacked,
}

fn linear_fetch_two(at: vec2<u32>, b: u32) -> LinearTwo {
  return LinearTwo(linear_fetch(at.x + b), linear_fetch(at.y + b));
}

fn linear_add_two(sum: vec2<f32>, w: LinearTwo, x: LinearX) -> vec2<f32> {
  return sum + vec2<f32>(linear_part(w.first, linear_bytes(w.first, 0u), linear_bytes(w.first, 1u), x),
                         linear_part(w.second, linear_bytes(w.second, 0u), linear_bytes(w.second, 1u), x));
}

// First blocks of columns `column` and the one after it.
fn linear_columns(column: u32) -> vec2<u32> {
  let last = linear.columns - 1u;
  return vec2<u32>(min(column, last), min(column + 1u, last)) * linear.blocks;
}

// An invocation's part of two columns' sums.
fn linear_two(column: u32, lane: u32, size: u32) -> vec2<f32> {
  let at = linear_columns(column);
  let blocks = linear.blocks;
  let end = blocks - 1u;
  var w0 = linear_fetch_two(at, min(lane, end));
  var x = linear_fetch_x(0u, min(lane, end));
  var w1 = linear_fetch_two(at, min(lane + size, end));
  var w2 = linear_fetch_two(at, min(lane + 2u * size, end));
  var w3 = linear_fetch_two(at, min(lane + 3u * size, end));
  var sum = vec2<f32>();
  for (var b = lane; b < blocks; b += 4u * size) {
    let x0 = x;
    let a0 = w0;
    x = linear_fetch_x(0u, min(b + size, end));
    w0 = linear_fetch_two(at, min(b + 4u * size, end));
    sum = linear_add_two(sum, a0, x0);
    if b + size < blocks {
      let x1 = x;
      let a1 = w1;
      x = linear_fetch_x(0u, min(b + 2u * size, end));
      w1 = linear_fetch_two(at, min(b + 5u * size, end));
      sum = linear_add_two(sum, a1, x1);
    }
    if b + 2u * size < blocks {
      let x2 = x;
      let a2 = w2;
      x = linear_fetch_x(0u, min(b + 3u * size, end));
      w2 = linear_fetch_two(at, min(b + 6u * size, end));
      sum = linear_add_two(sum, a2, x2);
    }
    if b + 3u * size < blocks {
      let x3 = x;
      let a3 = w3;
      x = linear_fetch_x(0u, min(b + 4u * size, end));
      w3 = linear_fetch_two(at, min(b + 7u * size, end));
      sum = linear_add_two(sum, a3, x3);
    }
  }
  return sum;
}

// An invocation's part of four columns' sums.
fn linear_four(column: u32, lane: u32, size: u32) -> vec4<f32> {
  let left = linear_columns(column);
  let right = linear_columns(column + 2u);
  let blocks = linear.blocks;
  let end = blocks - 1u;
  var l0 = linear_fetch_two(left, min(lane, end));
  var r0 = linear_fetch_two(right, min(lane, end));
  var x = linear_fetch_x(0u, min(lane, end));
  var l1 = linear_fetch_two(left, min(lane + size, end));
  var r1 = linear_fetch_two(right, min(lane + size, end));
  var sum0 = vec2<f32>();
  var sum1 = vec2<f32>();
  for (var b = lane; b < blocks; b += 2u * size) {
    let x0 = x;
    let a0 = l0;
    let b0 = r0;
    x = linear_fetch_x(0u, min(b + size, end));
    l0 = linear_fetch_two(left, min(b + 2u * size, end));
    r0 = linear_fetch_two(right, min(b + 2u * size, end));
    sum0 = linear_add_two(sum0, a0, x0);
    sum1 = linear_add_two(sum1, b0, x0);
    if b + size < blocks {
      let x1 = x;
      let a1 = l1;
      let b1 = r1;
      x = linear_fetch_x(0u, min(b + 2u * size, end));
      l1 = linear_fetch_two(left, min(b + 3u * size, end));
      r1 = linear_fetch_two(right, min(b + 3u * size, end));
      sum0 = linear_add_two(sum0, a1, x1);
      sum1 = linear_add_two(sum1, b1, x1);
    }
  }
  return vec4<f32>(sum0, sum1);
}

// Values of y that a workgroup's columns make are counted from linear.first on; `width` is where they end.

fn linear_beside(i: u32, width: u32, at: u32) -> f32 {
  if linear.residual == 0u || i >= width {
    return 0.0;
  }
  return linear_y1[at];
}

fn linear_scale(i: u32, width: u32, at: u32) -> f32 {
  if linear.round != LINEAR_ROUND_SCALED || i >= width {
    return 1.0;
  }
  return linear_bias[at];
}

// Stores and returns value i, place `slot` of the workgroup's.
fn linear_value(i: u32, width: u32, at: u32, slot: u32, beside: f32) -> f32 {
  if i >= width {
    return 0.0;
  }
  let sum = linear_sums[slot];
  var y = 0.0;
  if linear.ending >= LINEAR_GATED {
    y = linear_gated(sum.x, sum.y);
  } else {
    y = linear_ended(at, sum.x, beside);
  }
  linear_put(0u, at, y);
  return y;
}

@compute @workgroup_size(256, 1, 1)
fn linear_dot(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) subgroups: u32,
              @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) size: u32) {
  let gated = linear.ending >= LINEAR_GATED;
  let values = subgroups * 2u;
  let first = (group.y * groups.x + group.x) * values;
  let squares = linear_fetch_squares(0u, lane);
  // What the invocations that finish four values each need besides sums.
  let t = subgroup * size + lane;
  let finishes = t < values / 4u;
  let i = first + t * 4u;
  let width = select(linear.columns, linear.columns / 2u, gated);
  let at = select(linear.first, linear.first / 2u, gated) + i;
  var beside = vec4<f32>();
  var scale = vec4<f32>();
  if finishes {
    beside = vec4<f32>(linear_beside(i, width, at), linear_beside(i + 1u, width, at + 1u),
                       linear_beside(i + 2u, width, at + 2u), linear_beside(i + 3u, width, at + 3u));
    scale = vec4<f32>(linear_scale(i, width, at), linear_scale(i + 1u, width, at + 1u),
                      linear_scale(i + 2u, width, at + 2u), linear_scale(i + 3u, width, at + 3u));
  }
  let own = first + subgroup * 2u;
  var sums = vec4<f32>();
  if gated {
    sums = linear_four(own * 2u, lane, size);
  } else {
    let two = linear_two(own, lane, size);
    sums = vec4<f32>(two.x, 0.0, two.y, 0.0);
  }
  sums = subgroupAdd(sums) * linear_inverse(0u, squares, lane, size);
  if lane == 0u {
    linear_sums[subgroup * 2u] = sums.xy;
    linear_sums[subgroup * 2u + 1u] = sums.zw;
  }
  workgroupBarrier();
  var y = vec4<f32>();
  if finishes {
    y = vec4<f32>(linear_value(i, width, at, t * 4u, beside.x),
                  linear_value(i + 1u, width, at + 1u, t * 4u + 1u, beside.y),
                  linear_value(i + 2u, width, at + 2u, t * 4u + 2u, beside.z),
                  linear_value(i + 3u, width, at + 3u, t * 4u + 3u, beside.w));
  }
  if linear.round != 0u {
    let rounded = linear_rounded(y * scale, y);
    if finishes && i < width {
      let blocks = linear.width0 / 32u;
      let quad = at / 4u;
      let word = linear_rounded_at(quad, blocks);
      linear_y2[word] = rounded.upper;
      linear_y2[word + blocks * 8u] = rounded.lower;
      if (quad & 3u) == 0u {
        let scales = linear_scales_at(quad >> 2u, blocks);
        linear_y2[scales] = bitcast<u32>(rounded.scale);
        linear_y2[scales + 1u] = bitcast<u32>(rounded.sum);
        linear_y2[linear_squares_at(quad >> 2u, blocks)] = bitcast<u32>(rounded.squares);
      }
    }
  }
}
