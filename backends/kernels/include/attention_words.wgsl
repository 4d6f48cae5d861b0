// Eight halves of a key or value in four words, and their products with eight values of a query: what attention_step.wgsl and
// attention_row.wgsl share.

fn attention_low(words: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}

fn attention_high(words: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(words.z), unpack2x16float(words.w));
}

fn attention_dot(q0: vec4<f32>, q1: vec4<f32>, k0: vec4<f32>, k1: vec4<f32>, sum: f32) -> f32 {
  let s = fma(q0.w, k0.w, fma(q0.z, k0.z, fma(q0.y, k0.y, fma(q0.x, k0.x, sum))));
  return fma(q1.w, k1.w, fma(q1.z, k1.z, fma(q1.y, k1.y, fma(q1.x, k1.x, s))));
}
