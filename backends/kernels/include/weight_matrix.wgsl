// Weights for cooperative matrices: half a block as float16, of each four along k in the order 0 2 1 3, in which two
// nibbles (or bytes) of a word lie 16 bits apart; x comes in the same order (linear_half.wgsl), and a sum does not mind.
// Comes after weight_decode.wgsl.
//
// A number n below 1024 is, in the low bits of 0x6400, the float16 1024 + n. With scales in float16 the products are
// rounded once, as those that go through float32 are.

struct WeightMatrix {
  a: vec4<f16>,
  b: vec4<f16>,
  c: vec4<f16>,
  d: vec4<f16>,
}

fn weight_pair(word: u32) -> vec2<f16> {
  return vec2<f16>(unpack2x16float(word));  // naga takes a bitcast to vec2<f16> for vec2<f32>
}

// Numbers in the low `mask` bits of a word's halves, and of its halves shifted by eight.
fn weight_matrix_four(word: u32, mask: u32, scale: vec2<f16>) -> vec4<f16> {
  let near = weight_pair((word & mask) | 0x64006400u);
  let far = weight_pair(((word >> 8u) & mask) | 0x64006400u);
  let n = vec4<f16>(near, far) - vec4<f16>(f16(1024.0 + weight_offset));
  if weight_scales == 2u {
    return fma(n, vec4<f16>(scale.x), vec4<f16>(scale.y));
  }
  return n * scale.x;
}

fn weight_matrix_turned(w: vec4<f32>) -> vec4<f16> {
  return vec4<f16>(w.xzyw);
}

fn weight_matrix(p: WeightPacked) -> WeightMatrix {
  if ((weight_kind == 4u) | (weight_kind == 8u)) & ((weight_scales == 1u) | (weight_scales == 2u)) {
    let scale = vec2<f16>(p.scale);
    if weight_kind == 8u {
      return WeightMatrix(
          weight_matrix_four(p.a.x, 0xff00ffu, scale), weight_matrix_four(p.a.y, 0xff00ffu, scale),
          weight_matrix_four(p.a.z, 0xff00ffu, scale), weight_matrix_four(p.a.w, 0xff00ffu, scale));
    }
    return WeightMatrix(
        weight_matrix_four(p.a.x, 0xf000fu, scale), weight_matrix_four(p.a.x >> 4u, 0xf000fu, scale),
        weight_matrix_four(p.a.y, 0xf000fu, scale), weight_matrix_four(p.a.y >> 4u, 0xf000fu, scale));
  }
  let w = weight_unpacked(p);
  return WeightMatrix(weight_matrix_turned(w.a), weight_matrix_turned(w.b), weight_matrix_turned(w.c),
                      weight_matrix_turned(w.d));
}
