// Products of 15-bit activations and weights of 4 to 8 bits in whole numbers, by blocks: what linear_dot.wgsl and
// linear_dot_rows.wgsl share, so that both give a row the same bits. Comes after linear.wgsl, weight_decode.wgsl. The kernel
// defines linear_row_at(i): vec4 i of the rounded rows.

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

// A block of a rounded row: upper and lower bytes of either half; scale, scale times sum of either half.
struct LinearX {
  upper0: vec4<u32>,
  upper1: vec4<u32>,
  lower0: vec4<u32>,
  lower1: vec4<u32>,
  scales: vec4<f32>,
}

// Vec4s from one rounded row to the next.
fn linear_row_stride() -> u32 {
  return 5u * linear.blocks + (linear.blocks + 1u) / 2u;
}

fn linear_fetch_x(row: u32, b: u32) -> LinearX {
  let blocks = linear.blocks;
  let at = row * linear_row_stride() + b;
  return LinearX(linear_row_at(at), linear_row_at(at + blocks), linear_row_at(at + 2u * blocks),
                 linear_row_at(at + 3u * blocks), bitcast<vec4<f32>>(linear_row_at(at + 4u * blocks)));
}

// The squares of two blocks from 2 i on; zero beyond the row.
fn linear_fetch_squares(row: u32, i: u32) -> vec4<f32> {
  let blocks = linear.blocks;
  let all = (blocks + 1u) / 2u;
  let four = bitcast<vec4<f32>>(linear_row_at(row * linear_row_stride() + 5u * blocks + min(i, all - 1u)));
  return select(vec4<f32>(), four, vec4<u32>(i * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(blocks * 2u));
}

// What an RMS norm before the product multiplies a row by, but for its scale: 1 / sqrt(mean(x^2) + epsilon); 1 without a
// norm. `first`: linear_fetch_squares(row, lane), asked for early. All of the subgroup call.
fn linear_inverse(row: u32, first: vec4<f32>, lane: u32, size: u32) -> f32 {
  let blocks = linear.blocks;
  var squares = first;
  for (var i = lane + size; i < (blocks + 1u) / 2u; i += size) {
    squares += linear_fetch_squares(row, i);
  }
  let total = subgroupAdd((squares.x + squares.y) + (squares.z + squares.w));
  return select(1.0, 1.0 / sqrt(total / f32(blocks * 32u) + linear.epsilon), linear.norm != 0u);
}

// A block's part of a sum: its weights' words (of which scales are used), its weights in halves, and x.
fn linear_part(p: LinearPacked, weights0: vec4<u32>, weights1: vec4<u32>, x: LinearX) -> f32 {
  let offset = weight_offset - select(0.0, 128.0, weight_kind == 8u);
  let dot0 = f32(linear_dot16(weights0, x.upper0, x.lower0));
  let dot1 = f32(linear_dot16(weights1, x.upper1, x.lower1));
  let sum0 = fma(x.scales.x, dot0, -(offset * x.scales.y));
  let sum1 = fma(x.scales.z, dot1, -(offset * x.scales.w));
  if weight_scales >= 5u {
    return fma(p.scale0.x, sum0, p.scale0.y * x.scales.y) + fma(p.scale1.x, sum1, p.scale1.y * x.scales.w);
  }
  return fma(p.scale0.x, sum0 + sum1, p.scale0.y * (x.scales.y + x.scales.w));
}
