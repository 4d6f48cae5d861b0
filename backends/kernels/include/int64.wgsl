// 64-bit integers as pairs of words: x the low one, y the high one, as they lie in memory. Arithmetic wraps.

fn i64_from_i32(x: i32) -> vec2<u32> {
  return vec2<u32>(bitcast<u32>(x), bitcast<u32>(x >> 31u));
}

fn i64_add(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn i64_negate(a: vec2<u32>) -> vec2<u32> {
  return i64_add(~a, vec2<u32>(1u, 0u));
}

fn i64_subtract(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return vec2<u32>(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}

fn i64_multiply(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  // The high word of a.x * b.x, by halves.
  let al = a.x & 0xffffu;
  let ah = a.x >> 16u;
  let bl = b.x & 0xffffu;
  let bh = b.x >> 16u;
  let middle = ah * bl + ((al * bl) >> 16u);
  let other = al * bh + (middle & 0xffffu);
  let high = ah * bh + (middle >> 16u) + (other >> 16u);
  return vec2<u32>(a.x * b.x, high + a.x * b.y + a.y * b.x);
}

fn i64_equal(a: vec2<u32>, b: vec2<u32>) -> bool {
  return a.x == b.x && a.y == b.y;
}

fn u64_less(a: vec2<u32>, b: vec2<u32>) -> bool {
  return select(a.y < b.y, a.x < b.x, a.y == b.y);
}

fn i64_less(a: vec2<u32>, b: vec2<u32>) -> bool {
  return select(bitcast<i32>(a.y) < bitcast<i32>(b.y), a.x < b.x, a.y == b.y);
}

fn i64_is_negative(a: vec2<u32>) -> bool {
  return (a.y & 0x80000000u) != 0u;
}

// |a|; of the smallest number 2^63, unsigned.
fn i64_magnitude(a: vec2<u32>) -> vec2<u32> {
  return select(a, i64_negate(a), i64_is_negative(a));
}

struct I64Quotient {
  quotient: vec2<u32>,
  remainder: vec2<u32>,
}

// Of magnitudes up to 2^63, b > 0: bit by bit unless both fit a word.
fn u64_divide(a: vec2<u32>, b: vec2<u32>) -> I64Quotient {
  if a.y == 0u && b.y == 0u {
    return I64Quotient(vec2<u32>(a.x / b.x, 0u), vec2<u32>(a.x % b.x, 0u));
  }
  var quotient = vec2<u32>(0u, 0u);
  var rest = vec2<u32>(0u, 0u);
  for (var i = 64u; i > 0u; i -= 1u) {
    let at = i - 1u;
    let bit = (select(a.x, a.y, at >= 32u) >> (at & 31u)) & 1u;
    rest = vec2<u32>((rest.x << 1u) | bit, (rest.y << 1u) | (rest.x >> 31u));
    quotient = vec2<u32>(quotient.x << 1u, (quotient.y << 1u) | (quotient.x >> 31u));
    if !u64_less(rest, b) {
      rest = i64_subtract(rest, b);
      quotient.x |= 1u;
    }
  }
  return I64Quotient(quotient, rest);
}

// Towards zero, the remainder with a's sign, as in C. b = 0 gives 0 and 0; the smallest number by -1 wraps.
fn i64_divide(a: vec2<u32>, b: vec2<u32>) -> I64Quotient {
  if (b.x | b.y) == 0u {
    return I64Quotient(vec2<u32>(0u, 0u), vec2<u32>(0u, 0u));
  }
  var result = u64_divide(i64_magnitude(a), i64_magnitude(b));
  if i64_is_negative(a) != i64_is_negative(b) {
    result.quotient = i64_negate(result.quotient);
  }
  if i64_is_negative(a) {
    result.remainder = i64_negate(result.remainder);
  }
  return result;
}

// To the nearest float, ties to even.
fn i64_to_f32(a: vec2<u32>) -> f32 {
  let m = i64_magnitude(a);
  var value: f32;
  if m.y == 0u && m.x < 0x1000000u {
    value = f32(m.x);
  } else {
    // 24 bits from the leading one on; what is below decides the rounding.
    let lead = select(firstLeadingBit(m.x), 32u + firstLeadingBit(m.y), m.y != 0u);
    let shift = lead - 23u;
    var kept: u32;
    var rest: vec2<u32>;
    if shift < 32u {
      kept = (m.x >> shift) | select(0u, m.y << (32u - shift), shift > 0u);
      rest = vec2<u32>(m.x & ((1u << shift) - 1u), 0u);
    } else {
      kept = m.y >> (shift - 32u);
      rest = vec2<u32>(m.x, m.y & ((1u << (shift - 32u)) - 1u));
    }
    var half = vec2<u32>(0u, 0u);
    if shift > 32u {
      half.y = 1u << (shift - 33u);
    } else if shift > 0u {
      half.x = 1u << (shift - 1u);
    }
    let tie = i64_equal(rest, half) && shift > 0u;
    kept += select(select(0u, 1u, u64_less(half, rest)), kept & 1u, tie);
    value = f32(kept) * bitcast<f32>((shift + 127u) << 23u);
  }
  return select(value, -value, i64_is_negative(a));
}

// Towards zero; out of range the nearest number in it, NaN 0.
fn i64_from_f32(x: f32) -> vec2<u32> {
  let bits = bitcast<u32>(x);
  let exponent = (bits >> 23u) & 0xffu;
  let negative = (bits & 0x80000000u) != 0u;
  if math_is_nan(x) || exponent < 127u {
    return vec2<u32>(0u, 0u);
  }
  if exponent >= 190u {
    return select(vec2<u32>(0xffffffffu, 0x7fffffffu), vec2<u32>(0u, 0x80000000u), negative);
  }
  let mantissa = (bits & 0x7fffffu) | 0x800000u;
  var m = vec2<u32>(0u, 0u);
  if exponent <= 150u {
    m.x = mantissa >> (150u - exponent);
  } else {
    let shift = exponent - 150u; // up to 39
    if shift < 32u {
      m = vec2<u32>(mantissa << shift, mantissa >> (32u - shift));
    } else {
      m.y = mantissa << (shift - 32u);
    }
  }
  return select(m, i64_negate(m), negative);
}
