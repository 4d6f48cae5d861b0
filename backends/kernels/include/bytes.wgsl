// 8-bit integers, four to a word, the lowest byte first.

// Byte i of a word, sign-extended if is_signed.
fn byte_of(word: u32, i: u32, is_signed: bool) -> i32 {
  let b = (word >> ((i & 3u) * 8u)) & 255u;
  return select(bitcast<i32>(b), bitcast<i32>(b << 24u) >> 24u, is_signed);
}
