enable subgroups;
// Linear of one row with weights of 4 to 8 bits, in whole numbers (numerics FAST): activations are rounded to 15 bits
// of the largest of their block of 32, as on the CPU, and multiplied as two planes of bytes by dot4I8Packed. A subgroup
// makes two columns, its invocations take blocks in turn. With linear.norm the row is an RMS norm's input: it is
// multiplied by the norm's scale (in the bias's place), and the sums by 1 / sqrt(mean(x^2) + epsilon), so that the norm
// is no dispatch of its own.
//
// Formula, bindings, parameters: include/linear.wgsl. Workgroup: 256 x 1 x 1, two columns per subgroup (x of the grid),
// linear.lanes times (once if the row is longer than LINEAR_TILE): many columns share the work of rounding. Subgroups
// have 8 invocations or more. Weights are asked for before activations are rounded: the wait is shared.

const LINEAR_TILE: u32 = 128u;  // blocks of activations in workgroup memory

var<workgroup> linear_numbers: array<vec4<u32>, 512>;  // [upper 0, upper 1, lower 0, lower 1][block], words in order of k
var<workgroup> linear_scales: array<vec4<f32>, 128>;   // of a block: scale, scale times the sum of either half
var<workgroup> linear_squares: array<f32, 32>;         // of x, per subgroup

// A block's part of a sum; `b` is its place in the tile.
fn linear_block(p: LinearPacked, b: u32) -> f32 {
  return linear_part(p, linear_bytes(p, 0u), linear_bytes(p, 1u), linear_numbers[b], linear_numbers[128u + b],
                     linear_numbers[256u + b], linear_numbers[384u + b], linear_scales[b]);
}

// Rounds blocks [first, first + count) of the row into workgroup memory. The sum of the squares that this invocation
// saw.
fn linear_round_tile(t: u32, first: u32, count: u32) -> f32 {
  var squares = 0.0;
  for (var i0 = 0u; i0 < count * 8u; i0 += 256u) {
    let i = min(i0 + t, count * 8u - 1u);
    let block = i >> 3u;
    let w = i & 7u;
    var x = linear_x[first * 8u + i];
    if linear.norm != 0u {
      if i0 + t < count * 8u {
        squares += linear_squared(x);
      }
      let at = first * 32u + i * 4u;
      x *= vec4<f32>(linear_bias[at], linear_bias[at + 1u], linear_bias[at + 2u], linear_bias[at + 3u]);
    }
    let rounded = linear_rounded(x);
    if i0 + t < count * 8u {
      let plane = (w >> 2u) * 128u + block;
      linear_numbers[plane][w & 3u] = rounded.upper;
      linear_numbers[256u + plane][w & 3u] = rounded.lower;
      if w == 0u {
        linear_scales[block] = rounded.scales;
      }
    }
  }
  return squares;
}

@compute @workgroup_size(256, 1, 1)
fn linear_dot(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_id) subgroup: u32,
              @builtin(num_subgroups) subgroups: u32, @builtin(subgroup_invocation_id) lane: u32,
              @builtin(subgroup_size) size: u32) {
  let blocks = linear.blocks;
  let last = linear.columns - 1u;
  let next = lane + size;
  var squares = 0.0;
  var inverse = 1.0;
  for (var pass_ = 0u; pass_ < linear.lanes; pass_ += 1u) {
    let column = ((group.x * linear.lanes + pass_) * subgroups + subgroup) * 2u;
    let block0 = min(column, last) * blocks;
    let block1 = min(column + 1u, last) * blocks;
    var sum = vec2<f32>();
    for (var first = 0u; first < blocks; first += LINEAR_TILE) {
      let count = min(LINEAR_TILE, blocks - first);
      let a = first + min(lane, count - 1u);
      let b = first + min(next, count - 1u);
      let a0 = linear_fetch(block0 + a);
      let a1 = linear_fetch(block1 + a);
      let b0 = linear_fetch(block0 + b);
      let b1 = linear_fetch(block1 + b);
      if pass_ == 0u {
        workgroupBarrier();  // all have read the tile before
        squares += linear_round_tile(subgroup * size + lane, first, count);
        if linear.norm != 0u {
          let sum_of_squares = subgroupAdd(squares);
          if lane == 0u {
            linear_squares[subgroup] = sum_of_squares;
          }
        }
        workgroupBarrier();
      }
      if lane < count {
        sum += vec2<f32>(linear_block(a0, lane), linear_block(a1, lane));
      }
      if next < count {
        sum += vec2<f32>(linear_block(b0, next), linear_block(b1, next));
      }
      for (var i = next + size; i < count; i += size) {
        let c0 = linear_fetch(block0 + first + i);
        let c1 = linear_fetch(block1 + first + i);
        sum += vec2<f32>(linear_block(c0, i), linear_block(c1, i));
      }
    }
    sum = subgroupAdd(sum);
    if linear.norm != 0u && pass_ == 0u {
      var total = 0.0;
      for (var i = 0u; i < subgroups; i += 1u) {
        total += linear_squares[i];
      }
      inverse = 1.0 / sqrt(total / f32(blocks * 32u) + linear.epsilon);
    }
    if lane == 0u {
      linear_store2(0u, column, sum * inverse);
    }
  }
}
