// Activations rounded to 15 bits of the largest of their block of 32, as on the CPU: what linear_dot.wgsl and
// linear_round.wgsl share.

// Four numbers of a block: bytes in order of k, the number being 128 upper + lower; and of the block, if this is its
// first invocation: scale, scale times the sum of either half.
struct LinearRounded {
  upper: u32,
  lower: u32,
  scales: vec4<f32>,
}

fn linear_word(q: vec4<i32>) -> u32 {
  let bytes = bitcast<vec4<u32>>(q) & vec4<u32>(255u);
  return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

// Eight invocations in a row, from a multiple of eight on, share a block; all of the subgroup call.
fn linear_rounded(x: vec4<f32>) -> LinearRounded {
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
  let scale = select(0.0, most / 16256.0, some);
  return LinearRounded(linear_word(upper), linear_word(q - (upper << vec4<u32>(7u))),
                       vec4<f32>(scale, scale * f32(sum), scale * f32(other), 0.0));
}

fn linear_squared(x: vec4<f32>) -> f32 {
  return x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
}
