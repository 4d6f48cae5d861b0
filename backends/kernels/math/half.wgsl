// IEEE binary16 and bfloat16 as bits in the low half of a u32. All exact or correctly rounded (ties to even);
// a NaN stays a quiet NaN.

// Denormal halves are made from an integer, so a device that flushes denormals is right too.
fn math_f16_to_f32(h: u32) -> f32 {
  let magnitude = h & 0x7fffu;
  let normal = (magnitude << 13u) + 0x38000000u;
  let denormal = bitcast<u32>(f32(bitcast<i32>(magnitude)) * 5.9604645e-8);
  let special = (magnitude << 13u) | 0x7f800000u;
  var bits = select(normal, denormal, magnitude < 0x400u);
  bits = select(bits, special, magnitude >= 0x7c00u);
  return bitcast<f32>(bits | ((h & 0x8000u) << 16u));
}

fn math_f32_to_f16(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let magnitude = bits & 0x7fffffffu;
  // Normal: rebias the exponent (its wrapped value is not used when it would be below the normals), round at
  // bit 13.
  let normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13u) & 1u)) >> 13u;
  // Below 2^-14: one ulp of 0.5 is 2^-24, the spacing of denormal halves, so the addition rounds.
  let denormal = bitcast<u32>(bitcast<f32>(magnitude) + 0.5) - 0x3f000000u;
  var result = select(normal, denormal, magnitude < 0x38800000u);
  result = select(result, 0x7c00u, magnitude >= 0x477ff000u);
  result = select(result, ((magnitude >> 13u) & 0x3ffu) | 0x7e00u, magnitude > 0x7f800000u);
  return result | ((bits >> 16u) & 0x8000u);
}

fn math_bf16_to_f32(b: u32) -> f32 {
  return bitcast<f32>(b << 16u);
}

fn math_f32_to_bf16(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let rounded = (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
  return select(rounded, (bits >> 16u) | 0x40u, math_is_nan(x));
}
