// Activations rounded to 15 bits of the largest of their half block of 16: what linear_dot.wgsl and linear_dot_rows.wgsl
// multiply. The kernels that make them share this, so that a row has the same bits whoever rounds it: linear_round.wgsl,
// or the kernel whose result it is.
//
// A rounded row of k values, in blocks of 32, is [5 blocks + ceil(blocks / 2)] vec4<u32>s: the upper bytes of all first
// halves, those of the second halves, the lower bytes of either, four in order of k to a word; then per block, as float32,
// scale and scale times the sum of the first half and of the second; then the sum of squares of each half, before a norm's
// scale was applied.

// Four numbers of a half block: bytes in order of k, the number being 128 upper + lower; and of the half, the same for all
// four invocations, scale, scale times sum, and the sum of the squares of `raw`.
struct LinearRounded {
  upper: u32,
  lower: u32,
  scale: f32,
  sum: f32,
  squares: f32,
}

fn linear_word(q: vec4<i32>) -> u32 {
  let bytes = bitcast<vec4<u32>>(q) & vec4<u32>(255u);
  return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

// Four invocations in a row, from a multiple of four on, share a half; all of the subgroup call. `raw` is x before a norm's
// scale.
fn linear_rounded(x: vec4<f32>, raw: vec4<f32>) -> LinearRounded {
  let size = abs(x);
  var most = math_max(math_max(size.x, size.y), math_max(size.z, size.w));
  most = math_max(most, subgroupShuffleXor(most, 1u));
  most = math_max(most, subgroupShuffleXor(most, 2u));
  let some = !(most <= 1e-30);  // NaN is something, and makes the sum NaN
  let inverse = select(0.0, 16256.0 / most, some);
  let q = vec4<i32>(round(x * inverse));
  let upper = (q + vec4<i32>(64)) >> vec4<u32>(7u);
  var sum = q.x + q.y + q.z + q.w;
  sum += subgroupShuffleXor(sum, 1u);
  sum += subgroupShuffleXor(sum, 2u);
  var squares = fma(raw.w, raw.w, fma(raw.z, raw.z, fma(raw.y, raw.y, raw.x * raw.x)));
  squares += subgroupShuffleXor(squares, 1u);
  squares += subgroupShuffleXor(squares, 2u);
  let scale = select(0.0, most / 16256.0, some);
  return LinearRounded(linear_word(upper), linear_word(q - (upper << vec4<u32>(7u))), scale, scale * f32(sum), squares);
}

// Words of a rounded row of so many blocks.
fn linear_rounded_words(blocks: u32) -> u32 {
  return (5u * blocks + (blocks + 1u) / 2u) * 4u;
}

// Where a quad's upper bytes lie in a rounded row; lower bytes lie 8 words a block further.
fn linear_rounded_at(quad: u32, blocks: u32) -> u32 {
  return (((quad >> 2u) & 1u) * blocks + (quad >> 3u)) * 4u + (quad & 3u);
}

// Where a half block's scale lies, its scale times sum being the next; and its squares.
fn linear_scales_at(half: u32, blocks: u32) -> u32 {
  return blocks * 16u + half * 2u;
}

fn linear_squares_at(half: u32, blocks: u32) -> u32 {
  return blocks * 20u + half;
}

// Stores an invocation's part of a rounded row of so many blocks that begins at word `row`. The kernel defines
// linear_round_put(at, word): it knows where rounded rows go.
fn linear_round_store(row: u32, quad: u32, blocks: u32, rounded: LinearRounded) {
  let word = row + linear_rounded_at(quad, blocks);
  linear_round_put(word, rounded.upper);
  linear_round_put(word + blocks * 8u, rounded.lower);
  if (quad & 3u) == 0u {
    let half = quad >> 2u;
    let scales = row + linear_scales_at(half, blocks);
    linear_round_put(scales, bitcast<u32>(rounded.scale));
    linear_round_put(scales + 1u, bitcast<u32>(rounded.sum));
    linear_round_put(row + linear_squares_at(half, blocks), bitcast<u32>(rounded.squares));
  }
}
