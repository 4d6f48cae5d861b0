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

// A block's words as they lie in memory.
struct LinearPacked {
  a: vec4<u32>,
  b: vec4<u32>,
  above: vec2<u32>,
  scale0: vec2<f32>,
  scale1: vec2<f32>,
}

fn linear_fetch(block: u32) -> LinearPacked {
  var p = LinearPacked();
  if weight_kind == 8u {
    p.a = weight_q[block * 2u];
    p.b = weight_q[block * 2u + 1u];
  } else {
    p.a = weight_q[block];
  }
  switch weight_kind {
    case 5u: { p.above.x = weight_high[block]; }
    case 6u: { p.above = vec2<u32>(weight_high[block * 2u], weight_high[block * 2u + 1u]); }
    default: {}
  }
  p.scale0 = weight_scale(block, 0u);
  p.scale1 = p.scale0;
  if weight_scales >= 5u {
    p.scale1 = weight_scale(block, 1u);
  }
  return p;
}

// Bits 4 and 5 of the four bytes of a word, from the bits of four numbers that lie above their nibbles.
fn linear_above(bits: u32) -> u32 {
  if weight_kind == 5u {
    return ((bits & 1u) << 4u) | ((bits & 2u) << 11u) | ((bits & 4u) << 18u) | ((bits & 8u) << 25u);
  }
  return ((bits & 3u) << 4u) | ((bits & 12u) << 10u) | ((bits & 48u) << 16u) | ((bits & 192u) << 22u);
}

// 16 numbers of a half, as signed bytes in order of k: those of 8 bits less 128.
fn linear_bytes(p: LinearPacked, half: u32) -> vec4<u32> {
  if weight_kind == 8u {
    return select(p.a, p.b, half == 1u) ^ vec4<u32>(0x80808080u);
  }
  let words = select(p.a.xy, p.a.zw, half == 1u);
  let low = words & vec2<u32>(0x0f0f0f0fu);
  let high = (words >> vec2<u32>(4u)) & vec2<u32>(0x0f0f0f0fu);
  var bytes = vec4<u32>(low.x, high.x, low.y, high.y);
  if weight_kind == 5u {
    let above = p.above.x >> (half * 16u);
    bytes |= vec4<u32>(linear_above(above), linear_above(above >> 4u), linear_above(above >> 8u),
                       linear_above(above >> 12u));
  }
  if weight_kind == 6u {
    let above = select(p.above.x, p.above.y, half == 1u);
    bytes |= vec4<u32>(linear_above(above), linear_above(above >> 8u), linear_above(above >> 16u),
                       linear_above(above >> 24u));
  }
  return bytes;
}

fn linear_dot16(bytes: vec4<u32>, upper: vec4<u32>, lower: vec4<u32>) -> i32 {
  let u = dot4I8Packed(bytes.x, upper.x) + dot4I8Packed(bytes.y, upper.y) + dot4I8Packed(bytes.z, upper.z) +
          dot4I8Packed(bytes.w, upper.w);
  let l = dot4I8Packed(bytes.x, lower.x) + dot4I8Packed(bytes.y, lower.y) + dot4I8Packed(bytes.z, lower.z) +
          dot4I8Packed(bytes.w, lower.w);
  return u * 128 + l;
}

// A block's part of a sum; `b` is its place in the tile.
fn linear_block(p: LinearPacked, b: u32) -> f32 {
  let scales = linear_scales[b];
  let offset = weight_offset - select(0.0, 128.0, weight_kind == 8u);
  let dot0 = linear_dot16(linear_bytes(p, 0u), linear_numbers[b], linear_numbers[256u + b]);
  let dot1 = linear_dot16(linear_bytes(p, 1u), linear_numbers[128u + b], linear_numbers[384u + b]);
  if weight_scales >= 5u {
    let first = fma(p.scale0.x, fma(scales.x, f32(dot0), -(offset * scales.y)), p.scale0.y * scales.y);
    let second = fma(p.scale1.x, fma(scales.x, f32(dot1), -(offset * scales.z)), p.scale1.y * scales.z);
    return first + second;
  }
  let sum = scales.y + scales.z;
  return fma(p.scale0.x, fma(scales.x, f32(dot0 + dot1), -(offset * sum)), p.scale0.y * sum);
}

fn linear_word(q: vec4<i32>) -> u32 {
  let bytes = bitcast<vec4<u32>>(q) & vec4<u32>(255u);
  return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

// Rounds blocks [first, first + count) of the row into workgroup memory; eight invocations in a row share a block. The
// sum of the squares that this invocation saw.
fn linear_round(t: u32, first: u32, count: u32) -> f32 {
  var squares = 0.0;
  for (var i0 = 0u; i0 < count * 8u; i0 += 256u) {
    let i = min(i0 + t, count * 8u - 1u);
    let block = i >> 3u;
    let w = i & 7u;
    var x = linear_x[first * 8u + i];
    if linear.norm != 0u {
      if i0 + t < count * 8u {
        squares += x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
      }
      let at = first * 32u + i * 4u;
      x *= vec4<f32>(linear_bias[at], linear_bias[at + 1u], linear_bias[at + 2u], linear_bias[at + 3u]);
    }
    let size = abs(x);
    var most = math_max(math_max(size.x, size.y), math_max(size.z, size.w));
    most = math_max(most, subgroupShuffleXor(most, 1u));
    most = math_max(most, subgroupShuffleXor(most, 2u));
    most = math_max(most, subgroupShuffleXor(most, 4u));
    let some = !(most <= 1e-30);  // NaN is something, and makes the sum NaN
    let inverse = select(0.0, 16256.0 / most, some);
    let q = vec4<i32>(round(x * inverse));
    let upper = (q + vec4<i32>(64)) >> vec4<u32>(7u);
    var sum = q.x + q.y + q.z + q.w;
    sum += subgroupShuffleXor(sum, 1u);
    sum += subgroupShuffleXor(sum, 2u);
    let other = subgroupShuffleXor(sum, 4u);
    if i0 + t < count * 8u {
      let plane = (w >> 2u) * 128u + block;
      linear_numbers[plane][w & 3u] = linear_word(upper);
      linear_numbers[256u + plane][w & 3u] = linear_word(q - (upper << vec4<u32>(7u)));
      if w == 0u {
        let scale = select(0.0, most / 16256.0, some);
        linear_scales[block] = vec4<f32>(scale, scale * f32(sum), scale * f32(other), 0.0);
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
        squares += linear_round(subgroup * size + lane, first, count);
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
