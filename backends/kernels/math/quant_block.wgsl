// Fields of GGUF and ONNX quantized blocks, read from little-endian u32 words. All exact.

// Byte i in 0..3 of a word.
fn math_byte(word: u32, i: u32) -> u32 {
  return (word >> (i * 8u)) & 0xffu;
}

fn math_signed_byte(word: u32, i: u32) -> i32 {
  return bitcast<i32>(word << (24u - i * 8u)) >> 24u;
}

// Nibble i in 0..7 of a word, the low one of a byte first (MatMulNBits; Q4_* take low nibbles for the first
// half block).
fn math_nibble(word: u32, i: u32) -> u32 {
  return (word >> (i * 4u)) & 0xfu;
}

// Q4_0: d (nibble - 8). Q4_1: d nibble + m.
fn math_q4_0(nibble: u32, d: f32) -> f32 {
  return f32(bitcast<i32>(nibble) - 8) * d;
}

fn math_q4_1(nibble: u32, d: f32, m: f32) -> f32 {
  return f32(bitcast<i32>(nibble)) * d + m;
}

// Q5_0 and Q5_1: a nibble and its fifth bit (bit i in 0..31 of qh).
fn math_q5(nibble: u32, qh: u32, i: u32) -> i32 {
  return bitcast<i32>(nibble | (((qh >> i) & 1u) << 4u));
}

// Q4_K and Q5_K: 6-bit scale j in 0..7 of a superblock, from words 0 and 2 of its 12 bytes.
fn math_k_scale(word0: u32, word2: u32, j: u32) -> u32 {
  let i = j & 3u;
  let late = math_nibble(word2, i * 2u) | ((math_byte(word0, i) >> 6u) << 4u);
  return select(math_byte(word0, i) & 63u, late, j >= 4u);
}

// Q4_K and Q5_K: 6-bit minimum j, from words 1 and 2.
fn math_k_min(word1: u32, word2: u32, j: u32) -> u32 {
  let i = j & 3u;
  let late = math_nibble(word2, i * 2u + 1u) | ((math_byte(word1, i) >> 6u) << 4u);
  return select(math_byte(word1, i) & 63u, late, j >= 4u);
}

// Q6_K: 4 low bits and 2 high bits, offset 32.
fn math_q6(low_nibble: u32, high_pair: u32) -> i32 {
  return bitcast<i32>(low_nibble | (high_pair << 4u)) - 32;
}
