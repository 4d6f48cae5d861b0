// Weights as backends/gpu/gpu_pack.c lays them out: rows of blocks of 32, in planes.
//
// weight_kind: 0 f32, 1 f16, 2 bf16 (a block is 8, 4, 4 vec4<u32>); 4, 5, 6 bits: one vec4<u32> of nibbles, byte i of
// word w holding k = 8 w + i (low) and 8 w + 4 + i (high), and a plane of what lies above four bits (5: bit k of a
// word; 6: bits 2 k and 2 k + 1 of two words); 8 bits: two vec4<u32> of bytes in order of k. Stored numbers are
// unsigned; weight = scale (number - weight_offset) + min.
// weight_scales: 0 none (dense); per block 1 = f16 scale; 2 = f16 scale and min; 3 = f32 scale; 4 = f32 scale and min;
// 5 = f32 scales of both halves; 6 = f32 scales of both halves, then their mins. 7, 8: 4 = the numbers are codes of
// bitsandbytes' FP4, NF4, with an f32 scale.
// Bindings: WEIGHT_BINDING (a constant of the including file) = numbers, then scales, then what lies above four bits.

override weight_kind: u32 = 0u;
override weight_scales: u32 = 0u;
override weight_offset: f32 = 0.0;

@group(0) @binding(WEIGHT_BINDING) var<storage, read> weight_q: array<vec4<u32>>;
@group(0) @binding(WEIGHT_BINDING + 1u) var<storage, read> weight_s: array<u32>;
@group(0) @binding(WEIGHT_BINDING + 2u) var<storage, read> weight_high: array<u32>;

// 16 weights in order of k.
struct WeightHalf {
  a: vec4<f32>,
  b: vec4<f32>,
  c: vec4<f32>,
  d: vec4<f32>,
}

// Scale and min of a half (0, 1) of a block.
fn weight_scale(block: u32, half: u32) -> vec2<f32> {
  switch weight_scales {
    case 1u: {
      let pair = unpack2x16float(weight_s[block >> 1u]);
      return vec2<f32>(select(pair.x, pair.y, (block & 1u) == 1u), 0.0);
    }
    case 2u: { return unpack2x16float(weight_s[block]); }
    case 3u, 7u, 8u: { return vec2<f32>(bitcast<f32>(weight_s[block]), 0.0); }
    case 4u: { return vec2<f32>(bitcast<f32>(weight_s[block * 2u]), bitcast<f32>(weight_s[block * 2u + 1u])); }
    case 5u: { return vec2<f32>(bitcast<f32>(weight_s[block * 2u + half]), 0.0); }
    case 6u: {
      let at = block * 4u + half;
      return vec2<f32>(bitcast<f32>(weight_s[at]), bitcast<f32>(weight_s[at + 2u]));
    }
    default: { return vec2<f32>(1.0, 0.0); }
  }
}

// Four unsigned numbers below 2^23 as floats, less the offset: exact, and without conversions, which are slow on some
// GPUs.
fn weight_float(numbers: vec4<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(numbers | vec4<u32>(0x4b000000u)) - vec4<f32>(8388608.0 + weight_offset);
}

// bitsandbytes' code books: QLoRA's NF4 (Dettmers et al. 2023, appendix E) and FP4. Without branches: the four values of
// an invocation differ.
fn weight_choose4(code: vec4<u32>, a: f32, b: f32, c: f32, d: f32) -> vec4<f32> {
  let odd = (code & vec4<u32>(1u)) == vec4<u32>(1u);
  let low = select(vec4<f32>(a), vec4<f32>(b), odd);
  let high = select(vec4<f32>(c), vec4<f32>(d), odd);
  return select(low, high, (code & vec4<u32>(2u)) == vec4<u32>(2u));
}

fn weight_nf4(code: vec4<u32>) -> vec4<f32> {
  let a = weight_choose4(code, -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453);
  let b = weight_choose4(code, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0);
  let c = weight_choose4(code, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224);
  let d = weight_choose4(code, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0);
  let second = (code & vec4<u32>(4u)) == vec4<u32>(4u);
  return select(select(a, b, second), select(c, d, second), code > vec4<u32>(7u));
}

fn weight_fp4(code: vec4<u32>) -> vec4<f32> {
  let a = weight_choose4(code, 0.0, 0.0052083333, 0.66666667, 1.0);
  let b = weight_choose4(code, 0.33333333, 0.5, 0.16666667, 0.25);
  let size = select(a, b, (code & vec4<u32>(4u)) == vec4<u32>(4u));
  return select(size, -size, code > vec4<u32>(7u));
}

fn weight_value(numbers: vec4<u32>, scale: vec2<f32>) -> vec4<f32> {
  switch weight_scales {
    case 2u, 4u, 6u: { return fma(weight_float(numbers), vec4<f32>(scale.x), vec4<f32>(scale.y)); }
    case 7u: { return weight_fp4(numbers) * scale.x; }
    case 8u: { return weight_nf4(numbers) * scale.x; }
    default: { return weight_float(numbers) * scale.x; }
  }
}

// The four nibbles at `shift` (0 or 4) of the bytes of a word, with what lies above them: `high` starts with the
// first one's bits.
fn weight_nibbles(word: u32, shift: u32, high: u32) -> vec4<u32> {
  let low = (vec4<u32>(word) >> (vec4<u32>(0u, 8u, 16u, 24u) + vec4<u32>(shift))) & vec4<u32>(15u);
  switch weight_kind {
    case 5u: { return low | (((vec4<u32>(high) >> vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(1u)) << vec4<u32>(4u)); }
    case 6u: { return low | (((vec4<u32>(high) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u)) << vec4<u32>(4u)); }
    default: { return low; }
  }
}

fn weight_bytes(word: u32) -> vec4<u32> {
  return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
}

fn weight_halves(a: u32, b: u32) -> vec4<f32> {
  if weight_kind == 2u {
    return bitcast<vec4<f32>>(vec4<u32>(a << 16u, a & 0xffff0000u, b << 16u, b & 0xffff0000u));
  }
  return vec4<f32>(unpack2x16float(a), unpack2x16float(b));
}

// What lies above the nibbles of a half block, from its first number on.
fn weight_above(block: u32, half: u32) -> u32 {
  switch weight_kind {
    case 5u: { return weight_high[block] >> (half * 16u); }
    case 6u: { return weight_high[block * 2u + half]; }
    default: { return 0u; }
  }
}

// Half a block as it lies in memory, for kernels that ask for weights before they need them.
struct WeightPacked {
  a: vec4<u32>,
  b: vec4<u32>,
  c: vec4<u32>,
  d: vec4<u32>,
  above: u32,
  scale: vec2<f32>,
}

fn weight_packed(block: u32, half: u32) -> WeightPacked {
  var p = WeightPacked();
  switch weight_kind {
    case 0u: {
      let at = block * 8u + half * 4u;
      p.a = weight_q[at];
      p.b = weight_q[at + 1u];
      p.c = weight_q[at + 2u];
      p.d = weight_q[at + 3u];
    }
    case 1u, 2u: {
      let at = block * 4u + half * 2u;
      p.a = weight_q[at];
      p.b = weight_q[at + 1u];
    }
    case 8u: {
      p.a = weight_q[block * 2u + half];
      p.scale = weight_scale(block, half);
    }
    default: {
      let all = weight_q[block];
      p.a = vec4<u32>(select(all.xy, all.zw, half == 1u), 0u, 0u);
      p.above = weight_above(block, half);
      p.scale = weight_scale(block, half);
    }
  }
  return p;
}

fn weight_unpacked(p: WeightPacked) -> WeightHalf {
  switch weight_kind {
    case 0u: {
      return WeightHalf(bitcast<vec4<f32>>(p.a), bitcast<vec4<f32>>(p.b), bitcast<vec4<f32>>(p.c),
                        bitcast<vec4<f32>>(p.d));
    }
    case 1u, 2u: {
      return WeightHalf(weight_halves(p.a.x, p.a.y), weight_halves(p.a.z, p.a.w), weight_halves(p.b.x, p.b.y),
                        weight_halves(p.b.z, p.b.w));
    }
    case 8u: {
      return WeightHalf(weight_value(weight_bytes(p.a.x), p.scale), weight_value(weight_bytes(p.a.y), p.scale),
                        weight_value(weight_bytes(p.a.z), p.scale), weight_value(weight_bytes(p.a.w), p.scale));
    }
    default: {
      let bits = min(max(weight_kind, 4u) - 4u, 2u);
      return WeightHalf(weight_value(weight_nibbles(p.a.x, 0u, p.above), p.scale),
                        weight_value(weight_nibbles(p.a.x, 4u, p.above >> (4u * bits)), p.scale),
                        weight_value(weight_nibbles(p.a.y, 0u, p.above >> (8u * bits)), p.scale),
                        weight_value(weight_nibbles(p.a.y, 4u, p.above >> (12u * bits)), p.scale));
    }
  }
}

// Weights 16 half .. 16 half + 15 of a block.
fn weight_half(block: u32, half: u32) -> WeightHalf {
  return weight_unpacked(weight_packed(block, half));
}

// Weights 4 quad .. 4 quad + 3 of a block, quad in 0 .. 7: the same values as weight_half's.
fn weight_quad(block: u32, quad: u32) -> vec4<f32> {
  switch weight_kind {
    case 0u: { return bitcast<vec4<f32>>(weight_q[block * 8u + quad]); }
    case 1u, 2u: {
      let all = weight_q[block * 4u + (quad >> 1u)];
      let words = select(all.xy, all.zw, (quad & 1u) == 1u);
      return weight_halves(words.x, words.y);
    }
    case 8u: {
      let words = weight_q[block * 2u + (quad >> 2u)];
      return weight_value(weight_bytes(words[quad & 3u]), weight_scale(block, quad >> 2u));
    }
    default: {
      let word = weight_q[block][quad >> 1u];
      let bits = min(max(weight_kind, 4u) - 4u, 2u);
      let above = weight_above(block, quad >> 2u) >> ((quad & 3u) * 4u * bits);
      return weight_value(weight_nibbles(word, (quad & 1u) * 4u, above), weight_scale(block, quad >> 2u));
    }
  }
}
